# Every setting may come from the platform.
import os


def number(name, default):
    return int(os.environ.get(name) or default)


chosen = os.getenv("PORT", "8095")
wsgi_app = "hello:app"
bind = os.getenv("SANDBOX_BIND") or f":{chosen}"
workers = number("SANDBOX_WORKERS", 2)
threads = number("SANDBOX_THREADS", 4)
preload_app = os.getenv("SANDBOX_PRELOAD", "no") == "yes"
