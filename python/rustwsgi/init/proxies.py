"""nginx and HAProxy in front of the server."""

from __future__ import annotations

from rustwsgi.init.project import Project
from rustwsgi.init.template import fill

NGINX = """\
# nginx in front of @name@, printed by: rustwsgi init nginx @app@
#
#   rustwsgi init nginx @app@ > /etc/nginx/conf.d/@name@.conf
#   nginx -t && systemctl reload nginx
upstream @name@ {
@servers@
    # Shorter than --keep-alive and --graceful-timeout, so that nginx closes idle connections first.
    keepalive 32;
    keepalive_timeout @idle@s;
}

server {
    listen 80;
    server_name @name@.example;
    # Larger uploads get 413; the server's own limit is --limit-request-body.
    client_max_body_size @body@;

    location / {
        proxy_pass http://@name@;
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_set_header Host $http_host;
        # Always set, so that clients cannot choose them. The server applies them by
        # --forwarded-headers for,proto.
        proxy_set_header X-Forwarded-For $remote_addr;
        proxy_set_header X-Forwarded-Proto $scheme;
@timeout@
        # The server stores requests and responses of slow clients itself.
        #proxy_request_buffering off;
        #proxy_buffering off;
    }

    # With a certificate, in place of `listen 80`:
    #listen 443 ssl;
    #ssl_certificate /etc/ssl/@name@/fullchain.pem;
    #ssl_certificate_key /etc/ssl/@name@/privkey.pem;
}
"""

HAPROXY = """\
# HAProxy in front of @name@, printed by: rustwsgi init haproxy @app@
#
# Add it to /etc/haproxy/haproxy.cfg, check with `haproxy -c -f FILE`, and reload.
defaults
    mode http
    timeout connect 5s
    timeout client 30s
    timeout server @timeout@s

frontend web
    bind :80
    # With a certificate:
    #bind :443 ssl crt /etc/ssl/@name@.pem alpn h2,http/1.1
    # Always set, so that clients cannot choose them. The server applies them by
    # --forwarded-headers for,proto.
    http-request set-header X-Forwarded-For %[src]
    http-request set-header X-Forwarded-Proto https if { ssl_fc }
    http-request set-header X-Forwarded-Proto http unless { ssl_fc }
    # These would choose the prefix of the application.
    http-request del-header SCRIPT_NAME
    http-request del-header PATH_INFO
    default_backend @name@

backend @name@
    # All clients share the connections to the server.
    http-reuse always
    # A request whose connection ended without a response is repeated, unless it changes data.
    retry-on conn-failure empty-response
    http-request disable-l7-retry if { method POST PATCH }
@check@
@servers@
"""

CHECK = """\
    # The master answers at --metrics, also while all threads are busy.
    option httpchk
    http-check send meth GET uri /ready ver HTTP/1.1 hdr Host @name@
"""


def nginx(project: Project) -> str:
    keep_alive = project.number("keep_alive", 75)
    graceful = project.number("graceful_timeout", 30)
    timeout = project.number("timeout", 0)
    return fill(
        NGINX,
        name=project.name,
        app=project.quoted_app,
        servers="\n".join(f"    server {where(bind)};" for bind in project.binds()),
        idle=str(max(min(keep_alive, graceful) * 2 // 3, 1)),
        body=project.option("limit_request_body", "10m"),
        # nginx gives up after 60 s without a byte of the response.
        timeout=f"        proxy_read_timeout {timeout + 5}s;" if timeout > 55 else "",
    )


def haproxy(project: Project) -> str:
    metrics = project.option("metrics", "")
    _, colon, port = metrics.rpartition(":")
    is_checked = bool(colon) and port.isdecimal()
    options = f" check port {port} addr 127.0.0.1" if is_checked else ""
    servers = [
        f"    server {project.name}{number or ''} {where(bind, 'unix@')}{options}"
        for number, bind in enumerate(project.binds())
    ]
    return fill(
        HAPROXY,
        name=project.name,
        app=project.quoted_app,
        timeout=str(max(project.number("timeout", 0) + 5, 60)),
        check=CHECK.replace("@name@", project.name).rstrip("\n") if is_checked else "",
        servers="\n".join(servers),
    )


def where(bind: str, unix: str = "unix:") -> str:
    """The address at which a proxy on this machine reaches the server."""
    if bind.startswith("unix:"):
        return unix + bind.removeprefix("unix:")
    host, _, port = bind.rpartition(":")
    return f"127.0.0.1:{port}" if host in ("", "0.0.0.0", "[::]") else bind
