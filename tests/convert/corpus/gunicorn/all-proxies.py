wsgi_app = "hello:app"
bind = "*:8071"
forwarded_allow_ips = "*"
proxy_protocol = False
access_log_format = '%({x-forwarded-for}i)s %(l)s %(t)s "%(r)s" %(s)s %(b)s %(L)s'
accesslog = "-"
