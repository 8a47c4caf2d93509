bind = ["127.0.0.1:8030", "unix:/srv/run/two.sock", "[::1]:8031"]
backlog = 1024
reuse_port = True
wsgi_app = "hello:app"
