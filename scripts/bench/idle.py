"""Clients that keep a connection, and POST on it after it was idle for some seconds.

idle.py PORT HOST CLIENTS SECONDS: until SIGINT, then prints "requests failed". A
connection that was closed meanwhile is a failure: a browser does not send a POST twice.
"""

import http.client
import random
import signal
import sys
import threading
import time

port, host, clients, pause = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
stop, lock = threading.Event(), threading.Lock()
requests = failed = 0
body = b"x" * 2000


def answered(connection):
    connection.request("POST", "/", body, {"Host": host})
    answer = connection.getresponse()
    return answer.status == 200 and answer.read() == b"ok\n"


def client():
    global requests, failed
    stop.wait(random.uniform(0, pause))
    connection = None
    while not stop.is_set():
        connection = connection or http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        try:
            good, why = answered(connection), "a wrong answer"
        except (OSError, http.client.HTTPException) as error:
            good, why = False, repr(error)
        with lock:
            requests += 1
            failed += not good
        if not good:
            print(time.strftime("%X"), why, flush=True)
            connection.close()
            connection = None
        stop.wait(pause)


signal.signal(signal.SIGINT, lambda *_: stop.set())
threads = [threading.Thread(target=client) for _ in range(clients)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(requests, failed)
