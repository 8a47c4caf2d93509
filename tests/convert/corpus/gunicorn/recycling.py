wsgi_app = "hello:app"
max_requests = 1200
max_requests_jitter = 150
timeout = 45
graceful_timeout = 25
keepalive = 4
preload_app = False
