bind = "0.0.0.0:8040"
worker_class = "gevent"
worker_connections = 120
workers = 2
keepalive = 65
wsgi_app = "chat:app"
