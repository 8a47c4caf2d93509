import os

bind = f"0.0.0.0:{os.environ.get('SANDBOX_PORT', '8020')}"
workers = int(os.environ.get("SANDBOX_WORKERS", 2))
timeout = int(os.getenv("SANDBOX_TIMEOUT", "75"))
loglevel = os.environ.get("SANDBOX_LEVEL", "warning")
wsgi_app = "mysite.wsgi"
