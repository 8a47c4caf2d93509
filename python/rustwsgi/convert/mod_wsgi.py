"""The arguments of ``mod_wsgi-express``."""

from __future__ import annotations

import os

from rustwsgi.convert.arguments import Row, apply, flag, parse, same, with_rule, without
from rustwsgi.convert.conversion import Conversion, Given, module_of_file, number

APACHE = "this is a setting of Apache, which is not part of rustwsgi: use a proxy for it"
NOTHING = "there is nothing to configure"
DEVELOPMENT = "use the tool itself, with python -m rustwsgi for example"
LOGS = "the error log goes to error_logfile, or to standard error"
#: Options that are converted together with others.
TOGETHER = """
    host port https-port https-only callable-object application-type entry-point ssl-certificate
    log-directory error-log-name access-log access-log-name log-to-terminal working-directory
"""


def convert(arguments: list[str], source: str) -> Conversion:
    result = Conversion("mod_wsgi-express", source)
    if arguments[:1] and arguments[0] in ("start-server", "setup-server"):
        arguments = arguments[1:]
    found = list(parse(arguments, TABLE, {}))
    values = {name: given.value or "true" for name, given in found if name}
    for name, given in found:
        if name and name not in TOGETHER.split():
            apply(result, name, given, TABLE)
    directory = values.get("working-directory", "")
    if directory:
        result.set("chdir", directory, Given("--working-directory", directory, " "))
    addresses(result, values)
    logs(result, values)
    applications = [given for name, given in found if not name]
    if "entry-point" in values:
        applications.append(Given(values["entry-point"]))
    if applications:
        application(result, applications[-1], values, directory)
    if "threads" not in values:
        result.set("threads", 5, None, "mod_wsgi-express's default")
    return result


def addresses(result: Conversion, values: dict[str, str]) -> None:
    """Plain HTTP, and HTTPS beside it or in its place."""
    host, port = values.get("host", ""), values.get("port", "8000")
    given = Given("--port", port, " ")
    host = f"[{host}]" if ":" in host else host
    https = values.get("https-port")
    if not https:
        result.add("bind", f"{host}:{port}", given)
        return
    result.add("bind", f"{host}:{https}", Given("--https-port", https, " "))
    result.add(
        "redirect_bind" if "https-only" in values else "insecure_bind", f"{host}:{port}", given
    )
    base = values.get("ssl-certificate")
    if base:
        given = Given("--ssl-certificate", base, " ")
        result.add("certfile", f"{base}.crt", given)
        result.add("keyfile", f"{base}.key", given)


def logs(result: Conversion, values: dict[str, str]) -> None:
    """Apache writes to files, or to the terminal."""
    directory = values.get("log-directory", "")
    is_file = directory and "log-to-terminal" not in values
    if is_file:
        path = os.path.join(directory, values.get("error-log-name", "error_log"))
        result.set("error_logfile", path, Given("--log-directory", directory, " "))
    if "access-log" in values:
        path = os.path.join(directory, values.get("access-log-name", "access_log"))
        result.set("access_logfile", path if is_file else "-", Given("--access-log"))


def application(result: Conversion, given: Given, values: dict[str, str], directory: str) -> None:
    """A script, or a module with ``--application-type module``."""
    name, kind = given.name, values.get("application-type", "script")
    callable = values.get("callable-object", "application")
    if kind == "paste":
        result.set("paste", name, given)
    elif kind == "static":
        result.drop(given, "static serves files beside an application")
    elif kind == "module":
        result.set("app", name if ":" in name else f"{name}:{callable}", given)
    else:
        path = name if os.path.splitext(name)[1] else f"{name}.py"
        module = module_of_file(result, path, directory or os.getcwd())
        if module is None:
            result.drop(
                given, "Python cannot import this file by a name: rename it to a module (.py)"
            )
        else:
            result.set("app", f"{module}:{callable}", given)


def on_alias(result: Conversion, given: Given) -> None:
    url, _, path = given.value.partition(" ")
    if os.path.splitext(path)[1]:
        result.drop(given, "static serves directories: let the proxy serve this file")
    else:
        result.add("static", f"/{url.strip('/')}={path}", given, "the directories must exist")


def on_variable(result: Conversion, given: Given) -> None:
    result.add("env", given.value.replace(" ", "=", 1), given)


def on_mount_point(result: Conversion, given: Given) -> None:
    if given.value.strip("/"):
        result.add("env", f"SCRIPT_NAME=/{given.value.strip('/')}", given)


def on_trusted_field(result: Conversion, given: Given) -> None:
    known = {"x-forwarded-for": "for", "x-forwarded-proto": "proto", "x-forwarded-host": "host",
             "x-forwarded-port": "port", "x-forwarded-prefix": "prefix"}  # fmt: skip
    field = known.get(given.value.lower())
    if field:
        result.add("forwarded_headers", field, given)
    else:
        result.drop(given, f"only these fields are applied: {', '.join(known)}")


def on_level(result: Conversion, given: Given) -> None:
    """Apache's levels."""
    levels = {"warn": "warning", "notice": "info", "crit": "error", "alert": "error"}
    name = given.value.lower()
    level = "debug" if name.startswith("trace") else levels.get(name, name)
    result.set("log_level", level, given)


def on_format(result: Conversion, given: Given) -> None:
    if given.value in ("common", "combined"):
        result.set("access_logformat", given.value, given)
    else:
        result.drop(given, "access_logformat has gunicorn's atoms")


def on_number_of_clients(result: Conversion, given: Given) -> None:
    result.set("limit_queue", number(given.value), given)


TABLE: dict[str, Row] = {
    "access-log": without("", 0),
    "access-log-format": with_rule(on_format),
    "access-log-name": without(""),
    "add-handler": without(APACHE, 2),
    "allow-localhost": without("connections to any name of --bind are served", 0),
    "allow-override": without(APACHE),
    "application-type": without(""),
    "auth-group-script": without("authenticate in the application or in the proxy"),
    "auth-type": without("authenticate in the application or in the proxy"),
    "auth-user-script": without("authenticate in the application or in the proxy"),
    "body-max-timeout": without("see body_min_rate"),
    "body-min-rate": same("body_min_rate"),
    "body-timeout": same("body_timeout"),
    "callable-object": without(""),
    "compress-responses": without("compress in the proxy, or in a middleware", 0),
    "connect-timeout": without("see queue_timeout"),
    "cpu-time-limit": without("limit it with systemd, or with max_worker_lifetime"),
    "daemon-backlog": without("see limit_queue"),
    "deadlock-timeout": without("the master replaces workers that hang"),
    "directory-index": same("static_index"),
    "directory-listing": without("directories are not listed", 0),
    "disable-reloading": without("that is the default", 0),
    "document-root": without('name it with static: ["/=DIR"] and static_fallback = "app"'),
    "embedded-mode": without(APACHE, 0),
    "enable-coverage": without(DEVELOPMENT, 0),
    "enable-debugger": without(DEVELOPMENT, 0),
    "enable-gdb": without(DEVELOPMENT, 0),
    "enable-profiler": without(DEVELOPMENT, 0),
    "enable-recorder": without(DEVELOPMENT, 0),
    "enable-sendfile": without("files are always sent so", 0),
    "entry-point": without(""),
    "error-document": without(APACHE, 2),
    "error-log-format": without(LOGS),
    "error-log-name": without(""),
    "error-override": without(APACHE, 0),
    "eviction-timeout": same("graceful_timeout"),
    "graceful-timeout": same("graceful_timeout"),
    "group": same("group"),
    "handler-script": without(APACHE, 2),
    "header-buffer-size": without("see limit_request_head"),
    "header-max-timeout": same("header_timeout"),
    "header-min-rate": without("see header_timeout"),
    "header-timeout": without("see header_timeout, which limits the whole head"),
    "host": without(""),
    "host-access-script": without("check it in the application or in the proxy"),
    "hsts-policy": without("set the field Strict-Transport-Security in the application"),
    "http2": without("with TLS, HTTP/2 is on by default", 0),
    "https-only": without("", 0),
    "https-port": without(""),
    "ignore-activity": without(NOTHING),
    "inactivity-timeout": without("a worker without requests costs little"),
    "include-file": without(APACHE),
    "initial-workers": without("the number of workers is fixed"),
    "isatty": without(NOTHING, 0),
    "keep-alive-timeout": same("keep_alive"),
    "lang": with_rule(lambda result, given: result.add("env", f"LANG={given.value}", given)),
    "limit-request-body": same("limit_request_body"),
    "locale": with_rule(lambda result, given: result.add("env", f"LC_ALL={given.value}", given)),
    "log-directory": without(""),
    "log-level": with_rule(on_level),
    "log-to-terminal": without("", 0),
    "map-head-to-get": without("a HEAD request reaches the application as such"),
    "max-clients": with_rule(on_number_of_clients),
    "max-log-size": without("use logrotate, which sends USR1 to the master"),
    "maximum-requests": same("max_requests"),
    "maximum-spare-workers": without("the number of workers is fixed"),
    "minimum-spare-workers": without("the number of workers is fixed"),
    "modules-directory": without(APACHE),
    "mount-point": with_rule(on_mount_point),
    "orphan-interpreter": without(NOTHING, 0),
    "passenv": without("the application sees the variables of the server"),
    "pid-file": same("pid"),
    "port": without(""),
    "processes": same("workers"),
    "proxy-mount-point": without(APACHE, 2),
    "proxy-virtual-host": without(APACHE, 2),
    "python-eggs": without(NOTHING),
    "python-path": same("pythonpath"),
    "queue-timeout": same("queue_timeout"),
    "receive-buffer-size": without(NOTHING),
    "reload-on-changes": flag("reload"),
    "request-timeout": same("timeout"),
    "response-buffer-size": without("see response_spool"),
    "response-socket-timeout": same("write_timeout"),
    "restart-interval": same("max_worker_lifetime"),
    "rotate-logs": without("use logrotate, which sends USR1 to the master", 0),
    "send-buffer-size": without(NOTHING),
    "server-alias": without("every name is served: check it in the application or the proxy"),
    "server-backlog": same("backlog"),
    "server-metrics": without("see metrics", 0),
    "server-mpm": without(APACHE),
    "server-name": without("every name is served: check it in the application or the proxy"),
    "server-root": without("there is no directory of generated files"),
    "server-status": without("see metrics", 0),
    "service-log-file": without("start it as a service of its own", 2),
    "service-script": without("start it as a service of its own", 2),
    "service-user": without("start it as a service of its own", 2),
    "setenv": with_rule(on_variable, 2),
    "setup-only": without("there is no directory of generated files", 0),
    "shutdown-timeout": same("graceful_timeout"),
    "socket-timeout": same("write_timeout"),
    "ssl-ca-certificate-file": same("ca_certs"),
    "ssl-certificate": without(""),
    "ssl-certificate-file": same("certfile"),
    "ssl-certificate-key-file": same("keyfile"),
    "startup-log": without(LOGS, 0),
    "startup-log-name": without(LOGS),
    "startup-timeout": same("boot_timeout"),
    "threads": same("threads"),
    "trust-proxy": same("forwarded_allow_ips"),
    "trust-proxy-header": with_rule(on_trusted_field),
    "url-alias": with_rule(on_alias, 2),
    "user": same("user"),
    "with-newrelic": without("start the server through newrelic-admin run-program", 0),
    "working-directory": without(""),
}
