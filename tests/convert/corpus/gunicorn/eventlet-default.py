worker_class = "eventlet"
workers = 1
wsgi_app = "chat:app"
