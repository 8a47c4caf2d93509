"""``rustwsgi init``: prints files with which other programs start, or use, the server.

Each file is complete for the application in the working directory: a `Project` has its names,
paths, user and options. Nothing is written but to standard output.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from rustwsgi.convert import write
from rustwsgi.init import containers, proxies, systemd
from rustwsgi.init.project import InitError, Project, of_directory

#: The kinds of files, and the functions that fill them in.
KINDS: dict[str, Callable[[Project], str]] = {
    "systemd": systemd.render,
    "nginx": proxies.nginx,
    "haproxy": proxies.haproxy,
    "docker": containers.docker,
    "compose": containers.compose,
    "kubernetes": containers.kubernetes,
    "procfile": containers.procfile,
}

USAGE = """\
Usage: rustwsgi init KIND [OPTIONS] [APP]

Prints a complete, commented file for the application in the current directory:
its paths, virtual environment and owner, and the options of rustwsgi.toml.

KIND is one of:
  systemd     a service; with --socket the socket unit that may belong to it
  nginx       a virtual host in front of the server
  haproxy     a frontend and a backend
  docker      a Dockerfile
  compose     services of Docker Compose
  kubernetes  Deployment, Service, HorizontalPodAutoscaler, PodDisruptionBudget
              and NetworkPolicy
  procfile    the process of a platform such as Heroku

APP is the application: MODULE:NAME. Without it, that of the options is used, or
the one in the directory.

Options:
      --name NAME  Name of the service [default: the directory's]
      --user USER  User of the service [default: the directory's owner]
      --socket     Print the socket unit of systemd
  -h, --help       Print this text

Example:
  rustwsgi init systemd mysite.wsgi > /etc/systemd/system/mysite.service
"""
USAGE_ERROR = 2


def main(arguments: list[str]) -> int:
    """Run the command with these arguments. Returns the exit code."""
    try:
        text = run(arguments)
    except InitError as error:
        print(f"error: {error}", file=sys.stderr)
        return USAGE_ERROR
    return write(text, sys.stdout)


def run(arguments: list[str]) -> str:
    """The text to print."""
    options: dict[str, str] = {}
    words: list[str] = []
    rest = list(reversed(arguments))
    while rest:
        word = rest.pop()
        name, sign, value = word.partition("=")
        if word in ("-h", "--help"):
            return USAGE
        if word == "--socket":
            options[word] = "on"
        elif name in ("--name", "--user"):
            options[name] = value if sign else (rest.pop() if rest else "")
            if not options[name]:
                raise InitError(f"{name} needs a value: see rustwsgi init --help")
        elif word.startswith("-"):
            raise InitError(f"unknown option {name}: see rustwsgi init --help")
        else:
            words.append(word)
    kinds = ", ".join(KINDS)
    if not words:
        raise InitError(f"name the kind of file: {kinds}")
    if words[0] not in KINDS:
        raise InitError(f"{words[0]!r} is not one of {kinds}")
    if len(words) > 2:
        raise InitError(f"unexpected argument {words[2]!r}: a file is for one application")
    if "--socket" in options and words[0] != "systemd":
        raise InitError("--socket is an option of the kind systemd")
    app = words[1] if len(words) == 2 else None
    project = of_directory(app, options.get("--name"), options.get("--user"))
    render = systemd.render_socket if "--socket" in options else KINDS[words[0]]
    return render(project)
