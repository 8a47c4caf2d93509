wsgi_app = "hello:app"
statsd_host = "10.0.0.5:8125"
statsd_prefix = "shop"
dogstatsd_tags = "env:live"
syslog = False
syslog_addr = "udp://10.0.0.6:514"
syslog_facility = "local2"
