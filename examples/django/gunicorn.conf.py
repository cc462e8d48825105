# 80 requests at a time, streams and slow ones included, in about 140 MB of memory.
bind = "0.0.0.0:8000"
worker_class = "gthread"
workers = 2
threads = 40
worker_tmp_dir = "/dev/shm"

# SIGTERM comes after Windlass has drained the container, so nothing is left to wait for.
graceful_timeout = 5

# Its socket lies in a home folder, and this container's user has none.
control_socket_disable = True

# Caddy keeps its connections for 2 minutes; closing them sooner on this side
# would now and then hit a request that is just being sent.
keepalive = 130
