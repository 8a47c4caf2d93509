import logging

log = logging.getLogger("gunicorn.error")
bind = "127.0.0.1:8060"
workers = 2
preload_app = True
wsgi_app = "hello:app"


def post_fork(server, worker):
    server.log.info("worker %s", worker.pid)


def when_ready(server):
    log.info("ready")


def pre_exec(server):
    server.log.info("exec")
