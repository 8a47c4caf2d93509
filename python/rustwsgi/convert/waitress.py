"""The arguments of ``waitress-serve``."""

from __future__ import annotations

import re

from rustwsgi.convert.arguments import Row, apply, flag, parse, same, with_rule, without
from rustwsgi.convert.conversion import Conversion, Given

PROXY = "see forwarded_allow_ips and forwarded_headers"
NOTHING = "there is nothing to configure"


def convert(arguments: list[str], source: str) -> Conversion:
    result = Conversion("waitress", source)
    host, port, is_factory, app = "0.0.0.0", "8080", False, ""
    for name, given in parse(arguments, TABLE, {}):
        if name == "host":
            host = given.value
        elif name == "port":
            port = given.value
        elif name == "call":
            is_factory = True
        elif name in ("", "app"):
            app = given.value or given.name
        else:
            apply(result, name, given, TABLE)
    if app:
        result.set("app", f"{app}()" if is_factory and "(" not in app else app, Given(app))
    if result.get("bind") is None:
        bracketed = f"[{host}]" if ":" in host else host
        where = f":{port}" if host in ("0.0.0.0", "*") else f"{bracketed}:{port}"
        result.add("bind", where, Given("--port", port, " "), "waitress's default is port 8080")
    for name, value in (("limit_request_head", "256k"), ("keep_alive", 120)):
        result.default(name, value, "waitress's default")
    return result


def on_listen(result: Conversion, given: Given) -> None:
    for address in given.value.split():
        text = re.sub(r"^\*(?=:)", "", address)
        result.add("bind", text, given)


def on_unix_socket(result: Conversion, given: Given) -> None:
    result.add("bind", f"unix:{given.value}", given)


def on_permissions(result: Conversion, given: Given) -> None:
    if re.fullmatch("0?o?[0-7]{3}", given.value):
        mode = int(given.value[-3:], 8)
        mask = 0o666 & ~mode
        result.set("umask", f"{mask | mask >> 2 & 0o111:03o}", given, "also for new files")
    else:
        result.drop(given, "a Unix socket has mode 0666 without the bits of umask")


def on_prefix(result: Conversion, given: Given) -> None:
    result.add("env", f"SCRIPT_NAME=/{given.value.strip('/')}", given)


def on_trusted_headers(result: Conversion, given: Given) -> None:
    for word in re.split(r"[\s,]+", given.value.lower()):
        if word:
            result.add("forwarded_headers", word.removeprefix("x-forwarded-"), given)


TABLE: dict[str, Row] = {
    "app": without(""),
    "asyncore-loop-timeout": without(NOTHING),
    "asyncore-use-poll": without(NOTHING, 0),
    "backlog": same("backlog"),
    "call": flag("factory"),
    "channel-request-lookahead": without(
        "rustwsgi.client_disconnected in the environ is always set"
    ),
    "channel-timeout": same("keep_alive"),
    "cleanup-interval": without(NOTHING),
    "clear-untrusted-proxy-headers": without('forwarded_untrusted = "strip" does so', 0),
    "connection-limit": same("worker_connections"),
    "expose-tracebacks": without("tracebacks are in the error log", 0),
    "host": without(""),
    "ident": without("the field Server of the application is sent, else rustwsgi"),
    "inbuf-overflow": same("body_buffer_size"),
    "ipv4": without("name the address with bind", 0),
    "ipv6": without("name the address with bind", 0),
    "listen": with_rule(on_listen),
    "log-socket-errors": without(NOTHING, 0),
    "log-untrusted-proxy-headers": without(PROXY, 0),
    "max-request-body-size": same("limit_request_body"),
    "max-request-header-size": same("limit_request_head"),
    "no-clear-untrusted-proxy-headers": without(PROXY, 0),
    "no-expose-tracebacks": without("that is always so", 0),
    "no-ipv4": without("name the address with bind", 0),
    "no-ipv6": without("name the address with bind", 0),
    "no-log-socket-errors": without(NOTHING, 0),
    "no-log-untrusted-proxy-headers": without(PROXY, 0),
    "outbuf-high-watermark": without("see response_spool"),
    "outbuf-overflow": without("see response_spool"),
    "port": without(""),
    "recv-bytes": without(NOTHING),
    "send-bytes": without(NOTHING),
    "server-name": without("SERVER_NAME is the address; applications use the field Host"),
    "sockets": without("name inherited sockets as fd://N in bind"),
    "threads": same("threads"),
    "trusted-proxy": same("forwarded_allow_ips"),
    "trusted-proxy-count": without("all addresses of trusted proxies are skipped, see proxies.md"),
    "trusted-proxy-headers": with_rule(on_trusted_headers),
    "unix-socket": with_rule(on_unix_socket),
    "unix-socket-perms": with_rule(on_permissions),
    "url-prefix": with_rule(on_prefix),
    "url-scheme": without("let the proxy set X-Forwarded-Proto"),
}
