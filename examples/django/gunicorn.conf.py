# 80 requests at a time, streams and slow ones included, in about 140 MB of memory.
bind = "0.0.0.0:8000"
worker_class = "gthread"
workers = 2
threads = 40
worker_tmp_dir = "/dev/shm"

# On SIGTERM running requests get this long: less than [drain] stop_grace.
graceful_timeout = 25

# Caddy keeps its connections for 2 minutes; closing them sooner on this side
# would now and then hit a request that is just being sent.
keepalive = 130
