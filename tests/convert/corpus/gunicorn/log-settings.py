wsgi_app = "hello:app"
accesslog = "-"
errorlog = "-"
loglevel = "info"
capture_output = True
disable_redirect_access_to_syslog = True
logger_class = "logs.StructuredLogger"
logconfig_dict = {
    "version": 1,
    "root": {"level": "INFO", "handlers": []},
}
enable_stdio_inheritance = True
