"""Tries to get out of an app's container, and tells how far it came: a line for each attempt."""

import ctypes
import errno
import json
import os
import signal
import socket
import stat
import subprocess
import time

TARGETS = json.loads(os.environ["TARGETS"])
libc = ctypes.CDLL(None, use_errno=True)


def tell(name, outcome):
    print(f"TRIED {name}: {outcome}", flush=True)


def attempt(name, work):
    try:
        tell(name, work() or "done")
    except OSError as error:
        tell(name, errno.errorcode.get(error.errno, type(error).__name__))
    except Exception as error:
        tell(name, type(error).__name__)


def connect(host, port):
    socket.create_connection((host, int(port)), timeout=2).close()


def call(function, *args):
    if function(*args) != 0:
        raise OSError(ctypes.get_errno(), "refused")


def raw():
    socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP).close()


def device(kind, major, minor):
    os.mknod("/tmp/device", kind | 0o600, os.makedev(major, minor))


def as_somebody(*command):
    return subprocess.check_output(command, user=1000, group=1000, extra_groups=[], text=True).strip()


def chown():
    open("/tmp/file", "w").close()
    os.chown("/tmp/file", 1000, 1000)


def kill():
    other = subprocess.Popen(["sleep", "60"], user=1000)
    os.kill(other.pid, signal.SIGKILL)
    other.wait()


def listen():
    socket.create_server(("0.0.0.0", 80)).close()


def fork_bomb():
    children, refused = [], None
    while refused is None and len(children) < 1000:
        try:
            child = os.fork()
        except OSError as error:
            refused = errno.errorcode[error.errno]
            break
        if child == 0:
            time.sleep(60)
            os._exit(0)
        children.append(child)
    for child in children:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    return f"{refused} after {len(children)}"


def status(key):
    lines = open("/proc/self/status").read().splitlines()
    return next(line.split()[1] for line in lines if line.startswith(key + ":"))


for name, (host, port) in TARGETS["connect"].items():
    attempt(f"connect {name}", lambda: connect(host, port))
for path in TARGETS["sockets"]:
    tell(f"socket {path}", "there" if os.path.exists(path) else "absent")
attempt("mount", lambda: call(libc.mount, b"none", b"/mnt", b"tmpfs", 0, None))
attempt("unshare", lambda: call(libc.unshare, 0x10000000))
attempt("hostname", lambda: call(libc.sethostname, b"x", 1))
attempt("chroot", lambda: os.chroot("/tmp"))
attempt("disk", lambda: device(stat.S_IFBLK, 8, 0))
attempt("memory", lambda: device(stat.S_IFCHR, 1, 1))
attempt("core pattern", lambda: open("/proc/sys/kernel/core_pattern", "w").close())
attempt("host's processes", lambda: os.kill(TARGETS["pid"], 0))
attempt("raw", raw)
attempt("setuid binary", lambda: as_somebody("/usr/local/bin/rootid", "-u"))
attempt("fork bomb", fork_bomb)
attempt("capabilities", lambda: status("CapBnd"))
attempt("no new privileges", lambda: status("NoNewPrivs"))
attempt("may chown", chown)
attempt("may setuid", lambda: as_somebody("id", "-u"))
attempt("may kill", kill)
attempt("may listen on 80", listen)
