wsgi_app = "hello:app"
worker = 3
time_out = 30
bind = "127.0.0.1:8090"
django_settings = "mysite.settings"
logfile = "/srv/log/x.log"
