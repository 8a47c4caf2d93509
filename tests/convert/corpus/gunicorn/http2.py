wsgi_app = "hello:app"
http_protocols = "h2,h1"
http2_max_concurrent_streams = 50
certfile = "/srv/certs/site.pem"
keyfile = "/srv/certs/site.key"
bind = "127.0.0.1:8444"
dirty_apps = []
control_socket_disable = True
