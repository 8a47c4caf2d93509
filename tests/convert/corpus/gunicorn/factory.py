wsgi_app = "orders.api:create_app()"
bind = "localhost:8080"
workers = 2
threads = 8
sendfile = False
