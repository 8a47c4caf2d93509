"""The command line of each server: the workload's workers and threads, no access log.

Servers run with their defaults, as most users run them. The exceptions are limits on the number
and the idle time of connections, which would break the workload with 10,000 idle connections.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

BENCHES = Path(__file__).resolve().parent
ROOT = BENCHES.parent
TARGET = ROOT / "target" / "bench"
VENV = TARGET / "venv"
BIN = VENV / "bin"
#: The certificate of the workloads with TLS, and its key, which `install` makes.
CERTIFICATE = TARGET / "tls.pem"
KEY = TARGET / "tls.key"
#: The files of the static workloads, which `process` writes.
STATIC = TARGET / "static"

OURS = "rustwsgi"
#: Not a peer: it responds without Python, and shows the limit of kernel and load generator.
LIMIT = "nginx"


@dataclass(frozen=True)
class Launch:
    """Parameters of a server's command line."""

    #: The port on 127.0.0.1.
    port: int
    #: Threads that run the application; servers without threads ignore it.
    threads: int
    #: The module in apps/ whose `app` is served.
    app: str
    #: Whether each request uses a new connection.
    close: bool = False
    #: Worker processes; servers without them ignore it.
    workers: int = 1
    #: Whether the files of STATIC are served at /static, without the application.
    static: bool = False
    #: Whether clients speak TLS.
    tls: bool = False
    #: Whether clients speak HTTP/2.
    http2: bool = False


@dataclass(frozen=True)
class Server:
    """A server of the comparison."""

    #: The name on the command line and in the tables.
    name: str
    #: The command that starts it in the foreground.
    command: Callable[[Launch], list[str]]
    #: The packages to install with pip; empty if it is not on PyPI.
    requires: tuple[str, ...] = ()
    #: Whether it can run the application in several threads.
    threaded: bool = True
    #: Whether it has several worker processes on one address.
    forks: bool = False
    #: Whether it serves static files without the application.
    static: bool = False
    #: Whether it is measured with TLS.
    tls: bool = False
    #: Whether it is measured with HTTP/2.
    http2: bool = False
    #: Advice if it cannot be installed.
    hint: str = ""
    #: Environment variables it needs.
    env: Mapping[str, str] = field(default_factory=dict)


def _rustwsgi(to: Launch) -> list[str]:
    return [
        str(BIN / "rustwsgi"),
        *("--bind", f"127.0.0.1:{to.port}", "--threads", str(to.threads)),
        *("--workers", str(to.workers), "--keep-alive", "120", f"{to.app}:app"),
        *(("--static", f"/static={STATIC}") if to.static else ()),
        *(("--certfile", str(CERTIFICATE), "--keyfile", str(KEY)) if to.tls else ()),
        *(("--http2-cleartext", "prior-knowledge") if to.http2 and not to.tls else ()),
    ]


def _launcher(name: str) -> Callable[[Launch], list[str]]:
    def command(to: Launch) -> list[str]:
        script = str(BENCHES / "launch.py")
        return [str(BIN / "python"), script, name, str(to.port), str(to.threads), to.app]

    return command


def _granian(to: Launch) -> list[str]:
    return [
        str(BIN / "granian"),
        *("--interface", "wsgi", "--host", "127.0.0.1", "--port", str(to.port)),
        *("--workers", str(to.workers), "--blocking-threads", str(to.threads)),
        # --backpressure limits connections, by default to 1024. Idle time counts as reading a head.
        *("--backpressure", "200000", "--http1-header-read-timeout", "60000", f"{to.app}:app"),
        *(("--static-path-route", "/static") if to.static else ()),
        *(("--static-path-mount", str(STATIC)) if to.static else ()),
        *(("--ssl-certificate", str(CERTIFICATE), "--ssl-keyfile", str(KEY)) if to.tls else ()),
        *(("--http", "2") if to.http2 else ()),
    ]


def _gunicorn(to: Launch) -> list[str]:
    return [
        str(BIN / "gunicorn"),
        # The default worker class has no keep-alive; gthread has.
        *("--bind", f"127.0.0.1:{to.port}", "--worker-class", "gthread"),
        *("--workers", str(to.workers), "--threads", str(to.threads)),
        *("--worker-connections", "200000"),
        *("--keep-alive", "120", "--no-control-socket", f"{to.app}:app"),
    ]


def _waitress(to: Launch) -> list[str]:
    return [
        str(BIN / "waitress-serve"),
        *(f"--listen=127.0.0.1:{to.port}", f"--threads={to.threads}"),
        # Its default, select(), is limited to descriptor 1023.
        *("--connection-limit=200000", "--asyncore-use-poll", f"{to.app}:app"),
    ]


def _uwsgi(to: Launch) -> list[str]:
    address = f"127.0.0.1:{to.port}"
    return [
        str(BIN / "uwsgi"),
        # --http11-socket ignores Connection: close; --http-socket closes without announcing it.
        *(
            ("--http-socket", address, "--add-header", "Connection: close")
            if to.close
            else ("--http11-socket", address)
        ),
        *("--need-app", "--module", f"{to.app}:app", "--enable-threads"),
        *("--processes", str(to.workers), "--threads", str(to.threads), "--listen", "1024"),
        *("--virtualenv", str(VENV), "--disable-logging", "--die-on-term"),
    ]


_NGINX = """\
daemon off;
worker_processes 1;
pid nginx.pid;
error_log stderr error;
events {{ worker_connections 20000; }}
http {{
    access_log off;
    sendfile on;
    default_type text/plain;
    keepalive_requests 1000000000;
    keepalive_timeout 120s;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    server {{
        listen 127.0.0.1:{port} backlog=2048{http2}{tls};
        location / {{ return 200 "Hello, World!"; }}
        location /static/ {{ alias {static}/; }}
    }}
}}
"""


_NGINX_TLS = """\
 ssl;
        ssl_certificate {certificate};
        ssl_certificate_key {key};
        ssl_protocols TLSv1.2 TLSv1.3"""


def _nginx(to: Launch) -> list[str]:
    prefix = TARGET / "nginx"
    prefix.mkdir(parents=True, exist_ok=True)
    tls = _NGINX_TLS.format(certificate=CERTIFICATE, key=KEY) if to.tls else ""
    http2 = " http2" if to.http2 else ""
    text = _NGINX.format(port=to.port, static=STATIC, http2=http2, tls=tls)
    (prefix / "nginx.conf").write_text(text)
    return ["nginx", "-e", "stderr", "-p", str(prefix), "-c", str(prefix / "nginx.conf")]


SERVERS: tuple[Server, ...] = (
    Server(OURS, _rustwsgi, forks=True, static=True, tls=True, http2=True),
    Server(
        "bjoern",
        _launcher("bjoern"),
        requires=("bjoern",),
        threaded=False,
        hint="needs a C compiler and libev's headers (Debian: libev-dev)",
    ),
    Server(
        "fastwsgi",
        _launcher("fastwsgi"),
        # It imports pkg_resources, which later versions of setuptools lack.
        requires=("fastwsgi", "setuptools<81"),
        threaded=False,
        hint="needs a C compiler",
        env={"PYTHONWARNINGS": "ignore"},
    ),
    Server("fastpysgi", _launcher("fastpysgi"), requires=("fastpysgi",), threaded=False),
    Server(
        "granian",
        _granian,
        requires=("granian",),
        forks=True,
        static=True,
        tls=True,
        http2=True,
    ),
    Server("pyruvate", _launcher("pyruvate"), requires=("pyruvate",)),
    Server("uwsgi", _uwsgi, requires=("uwsgi",), forks=True, hint="needs a C compiler"),
    Server("gunicorn", _gunicorn, requires=("gunicorn",), forks=True),
    Server("waitress", _waitress, requires=("waitress",)),
    Server(
        LIMIT,
        _nginx,
        threaded=False,
        static=True,
        tls=True,
        http2=True,
        hint="Debian: apt-get install nginx-light",
    ),
)

BY_NAME: Mapping[str, Server] = {server.name: server for server in SERVERS}
