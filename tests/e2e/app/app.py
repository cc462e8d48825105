"""A small web app for the tests: one file, nothing but the standard library."""

import os
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PORT = int(os.environ.get("PORT", "8000"))
VERSION = open("version.txt").read().strip()

busy = 0
lock = threading.Lock()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def count(self, by):
        global busy
        with lock:
            busy += by

    def do_GET(self):
        self.count(1)
        try:
            self.get()
        finally:
            self.count(-1)

    def get(self):
        path, _, query = self.path.partition("?")
        word, _, rest = path.strip("/").partition("/")
        if word == "slow":
            time.sleep(float(rest))
            self.answer(200, f"{VERSION}: slept\n")
        elif word == "status":
            self.answer(int(rest), f"{rest}\n")
        elif word == "events":
            self.events(int(rest))
        elif word == "env":
            self.answer(200, os.environ.get(rest, "(not set)") + "\n")
        elif word == "file":
            self.file(rest)
        elif word == "die":
            os._exit(int(rest))
        else:
            self.answer(200, f"{VERSION}\n")

    def file(self, path):
        try:
            mode = os.lstat(path).st_mode
            link = os.readlink(path) if os.path.islink(path) else ""
            self.answer(200, f"{mode:o} {link}\n{open(path).read()}")
        except OSError as error:
            self.answer(404, f"{error}\n")

    def events(self, count):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for number in range(1, count + 1):
            self.chunk(f"data: {VERSION}: {number} of {count}\n\n")
            time.sleep(1)
        self.chunk("event: end\ndata: end\n\n")
        self.chunk("")

    def chunk(self, text):
        data = text.encode()
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    def do_POST(self):
        self.count(1)
        try:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            self.answer(201, body.decode(errors="replace"))
        finally:
            self.count(-1)

    def answer(self, status, text):
        data = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 256
    daemon_threads = True


def leave(*_):
    """SIGTERM: what runs is finished, then it is over."""
    print(f"{VERSION} says goodbye", flush=True)

    def wait():
        while busy:
            time.sleep(0.02)
        os._exit(0)

    threading.Thread(target=wait).start()


signal.signal(signal.SIGTERM, leave)
signal.signal(signal.SIGHUP, lambda *_: print(f"{VERSION} got SIGHUP", flush=True))
print(f"{VERSION} starts", flush=True)
print(f"{VERSION} complains", file=sys.stderr, flush=True)
import extra  # noqa: E402,F401

Server(("0.0.0.0", PORT), Handler).serve_forever()
