"""A configuration of uWSGI: what its options mean together.

Addresses, the application and logs have several options each, of which some exclude others. The
rest is converted one by one, by the tables of `uwsgi_rules`.
"""

from __future__ import annotations

import os
import re

from rustwsgi import _rustwsgi
from rustwsgi.convert import uwsgi_log_format
from rustwsgi.convert.conversion import Conversion, Given, module_of_file
from rustwsgi.convert.uwsgi_files import INCLUDES, Reader
from rustwsgi.convert.uwsgi_rules import FALSE, ORDERED, RENAMED, RULES, address, set_option

PROTOCOL = (
    "uWSGI spoke the uwsgi protocol here, and rustwsgi speaks HTTP: write proxy_pass in place of "
    "uwsgi_pass in nginx"
)
ONE_APPLICATION = "one server has one application: start another one for it"
#: More threads than this for green threads would be many for most applications.
MAX_THREADS = 400


def convert(reader: Reader, source: str) -> Conversion:
    """Convert the options that were read."""
    return Uwsgi(reader, source).run()


class Uwsgi:
    """One conversion."""

    def __init__(self, reader: Reader, source: str) -> None:
        self.result = Conversion("uWSGI", source)
        self.given = reader.expanded()
        self.placeholders = reader.placeholders
        for text in reader.remarks:
            self.result.remark(text)

    def run(self) -> Conversion:
        together = ORDERED.split()
        for given in self.given:
            if given.name not in together:
                self._convert(given)
        self._sockets()
        self._application()
        self._logs()
        self._defaults()
        return self.result

    def value(self, *names: str) -> str:
        """The last value of these options, or nothing."""
        return next((each.value for each in reversed(self.given) if each.name in names), "")

    def is_on(self, *names: str) -> bool:
        return self.value(*names).lower() not in ("", *FALSE)

    def all(self, *names: str) -> list[Given]:
        return [given for given in self.given if given.name in names and given.value]

    def _convert(self, given: Given) -> None:
        name = given.name.replace("-", "_")
        if rule := RULES.get(given.name):
            rule(self, given)
        elif target := RENAMED.get(given.name):
            set_option(self, target, given)
        elif (advice := _rustwsgi.uwsgi_advice(name)) is not None:
            self.result.drop(given, advice)
        elif given.name in INCLUDES or given.name in self.placeholders:
            # A placeholder of the file: where it is used, its value has been inserted.
            return
        else:
            self.result.drop(given, "this is no option of uWSGI that is known here")

    def chdir(self) -> str:
        return self.value("chdir") or os.getcwd()

    def _sockets(self) -> None:
        """Addresses: those of HTTP, or else those of the uwsgi protocol."""
        shared = [each.value for each in self.all("shared-socket", "undeferred-shared-socket")]
        is_http = self.value("protocol", "socket-protocol") in ("http", "https")
        ours = self.all("http", "http-socket", "http11-socket")
        uwsgi = self.all("socket", "uwsgi-socket")
        if is_http:
            ours, uwsgi = [*ours, *uwsgi], []
        elif value := self.value("protocol", "socket-protocol"):
            self.result.drop(Given("protocol", value), PROTOCOL)
        https = self.all("https", "https-socket")
        for given in https:
            self._https(given, shared)
        for given in ours:
            bind = address(given.value, shared)
            self.result.add("insecure_bind" if https else "bind", bind, given)
        for given in self.all("http-to-https"):
            self.result.add("redirect_bind", address(given.value, shared), given)
        for given in uwsgi:
            bind = address(given.value, shared)
            if bind.startswith("unix:@"):
                self.result.drop(given, "abstract sockets are not supported: write bind")
            elif ours or https:
                self.result.drop(
                    given, f'{PROTOCOL}, and add "{bind}" to bind if nginx is to use that address'
                )
            else:
                self.result.add("bind", bind, given, PROTOCOL)
                self.result.default(
                    "forwarded_headers",
                    "for,proto",
                    "for REMOTE_ADDR, which nginx sent as a uwsgi_param; `rustwsgi init nginx` "
                    "prints a configuration that sets the fields",
                )

    def _https(self, given: Given, shared: list[str]) -> None:
        """``ADDRESS,CERTIFICATE,KEY,CIPHERS,AUTHORITIES``"""
        where, certificate, key, ciphers, authorities, *_ = [*given.value.split(","), *[""] * 5]
        self.result.add("bind", address(where, shared), given)
        if certificate:
            self.result.add("certfile", certificate, given)
        if key:
            self.result.add("keyfile", key, given)
        if ciphers:
            self.result.comment("certfile", "The cipher suites are not configurable")
        if authorities:
            self.result.set("ca_certs", authorities.removeprefix("!"), given)
            is_required = authorities.startswith("!")
            self.result.set("cert_reqs", "required" if is_required else "optional", given)

    def _application(self) -> None:
        """The module and the callable."""
        callable = self.value("callable") or "application"
        chosen = self.all("module", "wsgi", "wsgi-file", "file")
        mounts = self.all("mount")
        if chosen:
            given = chosen[-1]
            is_file = given.name in ("wsgi-file", "file")
            self._set_app(given, given.value, callable, is_file)
            for other in chosen[:-1]:
                self.result.drop(other, ONE_APPLICATION)
        for given in mounts:
            prefix, _, app = given.value.partition("=")
            if self.result.get("app") is not None or not app:
                self.result.drop(given, ONE_APPLICATION)
                continue
            self._set_app(given, app, callable, os.path.splitext(app)[1] == ".py")
            if prefix.strip("/"):
                self.result.add("env", f"SCRIPT_NAME=/{prefix.strip('/')}", given)
        for given in self.all("paste", "ini-paste", "ini-paste-logged"):
            self.result.set("paste", given.value.removeprefix("config:"), given)

    def _set_app(self, given: Given, app: str, callable: str, is_file: bool) -> None:
        if not is_file:
            name, colon, attribute = app.partition(":")
            is_path = name.endswith(".py")
            name = name.removesuffix(".py").replace("/", ".") if is_path else name
            self.result.set("app", f"{name}:{attribute if colon else callable}", given)
            return
        module = module_of_file(self.result, app, self.chdir())
        if module is None:
            self.result.drop(
                given, "Python cannot import this file by a name: rename it to a module (.py)"
            )
        else:
            self.result.set("app", f"{module}:{callable}", given)

    def _logs(self) -> None:
        """uWSGI writes requests and messages to one stream, unless it is configured otherwise."""
        result = self.result
        target = self.value("daemonize", "daemonize2", "logto", "logto2")
        for given in self.all("logger"):
            target = self._log_file(given) or target
        if self.is_on("daemonize", "daemonize2"):
            result.set("daemon", True)
        if target:
            result.set("error_logfile", target, Given("logto", target))
        if self.is_on("disable-logging"):
            result.drop(Given("disable-logging"), "there is no access log without access_logfile")
            if self.all("log-4xx", "log-5xx"):
                result.remark(
                    'uWSGI logged only requests that failed. To do so: access_logfile = "-" and '
                    'access_log_exclude = ["^/"], which leaves out those that succeed.'
                )
            return
        requests = ""
        for given in self.all("req-logger", "logger-req"):
            requests = self._log_file(given) or requests
        comment = "" if requests else "uWSGI logs requests unless disable-logging is set"
        result.set("access_logfile", requests or target or "-", None, comment)
        for given in self.all("log-format", "logformat")[-1:]:
            text, unknown = uwsgi_log_format.translate(given.value)
            comment = f"from: {given}"
            if unknown:
                comment += f" (there is no atom for {', '.join(unknown)})"
            result.set("access_logformat", text, given, comment)

    def _log_file(self, given: Given) -> str:
        """The file of ``NAME file:PATH``, or nothing."""
        match = re.fullmatch(r"(?:[\w-]+ )?(?:file:)?(/?[^:]+)", given.value)
        if match and match[1] not in ("stdio", "syslog", "rsyslog"):
            return match[1]
        if given.value.rstrip(":").endswith("stdio"):
            return "-"
        self.result.drop(given, _rustwsgi.uwsgi_advice("logger") or "")
        return ""

    def _defaults(self) -> None:
        """Make what uWSGI does by default explicit."""
        result = self.result
        green = self.value("gevent", "async", "asyncio")
        if result.get("threads") is None and green:
            count = min(int(green), MAX_THREADS) if green.isdecimal() else 100
            result.set(
                "threads", max(count, 1), None, "in place of green threads, which are not supported"
            )
        if result.get("threads") is None:
            result.set(
                "threads", 1, None, "uWSGI's default; use more if the application is thread-safe"
            )
        if not self.is_on("lazy", "lazy-apps"):
            result.default(
                "preload",
                True,
                "uWSGI imports the application before it forks, which saves memory; a reload does "
                "not import it again then",
            )
        if self.all("socket", "uwsgi-socket", "http-socket"):
            result.default("keep_alive", 75, "for a proxy that keeps connections open")
