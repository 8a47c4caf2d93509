"""Settings with types."""

from __future__ import annotations

bind: str = "127.0.0.1:8092"
workers: int = 1 + 1
threads: int = 4
worker_class: str = "gthread"
timeout: float = 12.5
wsgi_app: str = "hello:app"
