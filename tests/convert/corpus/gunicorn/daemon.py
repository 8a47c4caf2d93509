wsgi_app = "hello:app"
daemon = True
pidfile = "/srv/run/gunicorn.pid"
errorlog = "/srv/log/gunicorn.log"
umask = 18
user = None
group = None
