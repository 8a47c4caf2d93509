"""nginx and HAProxy in front of the server."""

from __future__ import annotations

import re
import textwrap

from rustwsgi.init.addresses import UNIX, Upstream, reached, upstream
from rustwsgi.init.project import InitError, Project
from rustwsgi.init.template import fill

NGINX = """\
# nginx in front of @name@, printed by: rustwsgi init nginx @app@
#
#   rustwsgi init nginx @app@ > /etc/nginx/conf.d/@name@.conf
#   nginx -t && systemctl reload nginx
upstream @name@ {
@remarks@
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
        proxy_pass @scheme@://@name@;
@tls@
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
@remarks@
@servers@
"""

CHECK = """\
    # The master answers at --metrics, also while all threads are busy.
    option httpchk
    http-check send meth GET uri /ready ver HTTP/1.1 hdr Host @name@
"""

#: What nginx needs for a server that speaks TLS. It uses HTTP/1.1 there, which all servers have.
NGINX_TLS = """\
        # The server's certificate, by this name. On the same machine it need not be verified; on
        # another one, add proxy_ssl_verify on and proxy_ssl_trusted_certificate FILE.
        proxy_ssl_server_name on;
        proxy_ssl_name @host@;
"""
NGINX_CLIENT = """\
        # The server asks for a certificate (--cert-reqs):
        #proxy_ssl_certificate /etc/ssl/@name@/client.pem;
        #proxy_ssl_certificate_key /etc/ssl/@name@/client.key;
"""

HAPROXY_TLS = """\
    # TLS on the same machine need not be verified; on another one, write verify required and
    # ca-file FILE. HAProxy uses HTTP/1.1 here; add alpn h2,http/1.1 for HTTP/2.
"""
HAPROXY_CLIENT = """\
    # The server asks for a certificate (--cert-reqs): add crt FILE to the line.
"""
#: A header of the PROXY protocol belongs to a connection: HAProxy shares none between clients then.
HAPROXY_PROXY = """\
    # The server expects the PROXY protocol (--proxy-protocol).
"""


def nginx(project: Project) -> str:
    """Raises InitError."""
    if project.option("proxy_protocol", "off") != "off":
        raise InitError(
            "nginx sends headers of the PROXY protocol only from its stream module: remove"
            " proxy_protocol from the options, and name the client's address by"
            " --forwarded-headers for,proto"
        )
    keep_alive = project.number("keep_alive", 75)
    graceful = project.number("graceful_timeout", 30)
    timeout = project.number("timeout", 0)
    found = upstream(project)
    tls = NGINX_TLS if found.is_https else ""
    if found.is_https and has_client_certificates(project):
        tls += NGINX_CLIENT
    return fill(
        NGINX,
        name=project.name,
        app=project.quoted_app,
        remarks=remarks(found),
        servers="\n".join(f"    server {nginx_word(each)};" for each in found.addresses),
        scheme="https" if found.is_https else "http",
        tls=fill(tls, name=project.name, host=project.option("acme_domain", "$host")),
        idle=str(max(min(keep_alive, graceful) * 2 // 3, 1)),
        body=project.option("limit_request_body", "10m"),
        # nginx gives up after 60 s without a byte of the response.
        timeout=f"        proxy_read_timeout {timeout + 5}s;" if timeout > 55 else "",
    )


def haproxy(project: Project) -> str:
    found = upstream(project)
    host, _, port = reached(project, project.option("metrics", "")).rpartition(":")
    is_checked = bool(host) and port.isdecimal() and int(port) > 0
    options, notes = "", ""
    if found.is_https:
        domain = project.option("acme_domain", "")
        name = f"str({domain})" if domain else "req.hdr(host),field(1,:)"
        options += f" ssl verify none sni {name}"
        notes += HAPROXY_TLS
        if has_client_certificates(project):
            notes += HAPROXY_CLIENT
    if project.option("proxy_protocol", "off") != "off":
        is_first = project.option("proxy_protocol", "") == "v1"
        options += " send-proxy" if is_first else " send-proxy-v2"
        notes += HAPROXY_PROXY
    if is_checked:
        options += f" check port {port} addr {host}"
    servers = [
        f"    server {project.name}{number or ''} {haproxy_word(each)}{options}"
        for number, each in enumerate(found.addresses)
    ]
    return fill(
        HAPROXY,
        name=project.name,
        app=project.quoted_app,
        timeout=str(max(project.number("timeout", 0) + 5, 60)),
        check=CHECK.replace("@name@", project.name).rstrip("\n") if is_checked else "",
        remarks=(remarks(found) + notes).rstrip("\n"),
        servers="\n".join(servers),
    )


def has_client_certificates(project: Project) -> bool:
    return project.option("cert_reqs", "none") not in ("none", "0")


def remarks(found: Upstream) -> str:
    """The remarks as lines of a comment."""
    lines = [line for text in found.remarks for line in textwrap.wrap(text, 90)]
    return "".join(f"    # {line}\n" for line in lines)


def nginx_word(address: str) -> str:
    """A parameter, in quotation marks if it needs them."""
    if re.fullmatch(r"[\w.:/@%\[\]+-]+", address):
        return address
    return '"' + re.sub(r"([\\\"])", r"\\\1", address) + '"'


def haproxy_word(address: str) -> str:
    """The same; HAProxy takes a backslash in front of what it would interpret."""
    address = re.sub(rf"^{UNIX}", "unix@", address)
    return re.sub(r"([\\ \"'#])", r"\\\1", address)
