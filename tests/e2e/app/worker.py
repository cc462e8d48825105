"""A worker for the tests: it takes work all the time, says when it does not, and ends when asked."""

import os
import signal
import sys
import time

VERSION = open("version.txt").read().strip()
WHO = f"{os.environ['WINDLASS_PROCESS']}.{os.environ['WINDLASS_REPLICA']}"


def says(what):
    print(f"{VERSION} {WHO} {what}", flush=True)


def leave(*_):
    time.sleep(0.3)
    says("says goodbye")
    sys.exit(0)


signal.signal(signal.SIGTERM, leave)
signal.signal(signal.SIGINT, leave)
signal.signal(signal.SIGTSTP, lambda *_: says("is quiet"))
signal.signal(signal.SIGCONT, lambda *_: says("takes work"))
says("begins")
if len(sys.argv) > 1:
    time.sleep(float(sys.argv[1]))
    sys.exit("no work today")
while True:
    time.sleep(60)
