"""The application that a file of ``rustwsgi init`` is for: its names, paths, user and options."""

from __future__ import annotations

import grp
import os
import pwd
import re
import shlex
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field

from rustwsgi import _finder, _rustwsgi
from rustwsgi._candidates import NotFound

#: Files with options, which the server reads in its working directory.
FILES = ("rustwsgi.toml", "gunicorn.conf.py")
#: Files with the requirements of the application.
REQUIREMENTS = (
    "requirements.txt",
    "pyproject.toml",
)
#: Groups of the usual proxies.
PROXY_GROUPS = ("www-data", "nginx", "http", "haproxy")
#: The default of `--bind`.
DEFAULT_BIND = "127.0.0.1:8000"
#: A server of one worker is interrupted by a crash.
MIN_WORKERS = 2


class InitError(Exception):
    """Why a file cannot be printed, as a sentence for the user."""


@dataclass(frozen=True)
class Project:
    """What the files are filled in with."""

    #: The application, as on the command line.
    app: str
    #: The name of the service: letters, digits and hyphens.
    name: str
    #: The working directory.
    directory: str
    #: The path of the server.
    program: str
    user: str
    #: The group of the user, or of the proxy that opens the socket.
    group: str
    #: The value of `--workers`.
    workers: str
    #: The version of Python, such as 3.12.
    python: str
    #: Options that files and the environment set.
    options: Mapping[str, list[str]] = field(default_factory=dict)
    #: The file with options, or nothing.
    file: str = ""
    #: Whether the file names the application, so that the command line need not.
    is_named: bool = False
    #: The file with the requirements of the application, or nothing.
    requirements: str = ""
    #: Whether the user exists on this machine.
    has_user: bool = False

    @property
    def quoted_app(self) -> str:
        """The application as a word of a shell, for the commands in comments."""
        return shlex.quote(self.app)

    def option(self, name: str, default: str) -> str:
        """The value of an option, or the default of the file that is printed."""
        values = self.options.get(name)
        return values[-1] if values else default

    def number(self, name: str, default: int) -> int:
        """The same in whole seconds or pieces."""
        try:
            return int(float(self.option(name, str(default))))
        except ValueError:
            return default

    @property
    def default_socket(self) -> str:
        """The path of the unix socket, if no option names an address."""
        return f"/run/{self.name}/{self.name}.sock"

    @property
    def has_tls(self) -> bool:
        """Whether the server has a certificate, or orders one."""
        return "certfile" in self.options or "acme_domain" in self.options

    def binds(self) -> list[str]:
        """The addresses of the server."""
        # With a certificate, the server is usually reached without a proxy.
        usual = DEFAULT_BIND if self.has_tls else f"unix:{self.default_socket}"
        return self.options.get("bind") or [usual]

    def arguments(self, wanted: Mapping[str, str]) -> list[str]:
        """The command line of the server: the options that no file sets, and the application."""
        words = [self.program]
        for name, value in wanted.items():
            if name not in self.options:
                words.append(f"--{name.replace('_', '-')}")
                words += [value] if value else []
        return words if self.is_named else [*words, self.app]

    def command(self, wanted: Mapping[str, str]) -> str:
        return shlex.join(self.arguments(wanted))


def of_directory(app: str | None, name: str | None = None, user: str | None = None) -> Project:
    """The project in the working directory. Raises InitError."""
    directory = os.getcwd()
    try:
        options = dict(_rustwsgi.resolved_options(["rustwsgi", *([app] if app else [])]))
    except ValueError as error:
        raise InitError(str(error)) from None
    named = options.pop("app", [])
    chdir = os.path.join(directory, *options.get("chdir", []))
    file = next((each for each in FILES if os.path.isfile(each)), "")
    name = slug(name or os.path.basename(directory) or "app")
    user = user or owner(directory) or name
    return Project(
        app=app or (named[0] if named else find_application(chdir)),
        name=name,
        directory=directory,
        program=program(),
        user=user,
        group=proxy_group() or user,
        workers=usual_workers(),
        python=f"{sys.version_info[0]}.{sys.version_info[1]}",
        options=options,
        file=file,
        is_named=app is None and bool(named),
        requirements=next((each for each in REQUIREMENTS if os.path.isfile(each)), ""),
        has_user=is_user(user),
    )


def find_application(directory: str) -> str:
    """The application of the project in a directory. Raises InitError if there is none."""
    try:
        return _finder.find(directory).name
    except NotFound as problem:
        raise InitError(
            f"no application is named in {directory}, and none was found: {problem}. Write it "
            "behind the kind of file, as in rustwsgi init systemd hello:app"
        ) from None


def slug(text: str) -> str:
    """Letters, digits and hyphens: a name that systemd, Kubernetes and DNS accept."""
    name = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    # A digit cannot begin the name of a user or of a Kubernetes service.
    name = f"app-{name}" if name[:1].isdigit() else name
    return name[:40].strip("-") or "app"


def owner(directory: str) -> str | None:
    """The owner of the directory, unless it is root."""
    try:
        identity = os.stat(directory).st_uid
        return pwd.getpwuid(identity).pw_name if identity else None
    except (OSError, KeyError):
        return None


def is_user(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def proxy_group() -> str | None:
    for name in PROXY_GROUPS:
        try:
            return grp.getgrnam(name).gr_name
        except KeyError:
            continue
    return None


def program() -> str:
    """The server that runs this: the script of an environment, or the standalone binary."""
    try:
        binary = os.readlink("/proc/self/exe")
    except OSError:
        binary = ""
    if os.path.basename(binary) == "rustwsgi":
        return binary
    script = os.path.join(sys.prefix, "bin", "rustwsgi")
    return script if os.path.exists(script) else shutil.which("rustwsgi") or script


def usual_workers() -> str:
    """One for each processor: `auto` if the server knows that value."""
    if _rustwsgi.check_options([("workers", ["auto"])]) is None:
        return "auto"
    return str(max(len(os.sched_getaffinity(0)), MIN_WORKERS))
