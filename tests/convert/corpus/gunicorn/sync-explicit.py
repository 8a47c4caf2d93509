wsgi_app = "hello:app"
worker_class = "sync"
workers = 4
timeout = 0
