# The framework has a WSGI application as well.
worker_class = "uvicorn.workers.UvicornWorker"
workers = 2
bind = ":8050"
wsgi_app = "hello:app"
