wsgi_app = "hello:app"
bind = "0.0.0.0:8070"
forwarded_allow_ips = "10.1.2.3, 10.1.2.4"
secure_scheme_headers = {"X-FORWARDED-PROTO": "https"}
proxy_protocol = True
proxy_allow_ips = "10.1.2.3"
forwarder_headers = "SCRIPT_NAME"
