"""``manage.py rustwsgi [options]``: serves the project, with the options of ``rustwsgi``."""

from __future__ import annotations

import argparse
import os
import re
import sys
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connections

from rustwsgi import _launch, _rustwsgi
from rustwsgi.django import application

#: What ``runserver`` takes in place of an option: a port, or an address with one.
ADDRESS = re.compile(r"(?:(\[[\da-fA-F:]+\]|[\w.-]+):)?(\d{1,5})")
#: Options that print something instead of serving.
PRINTING = {"--print-config", "--version", "-V"}


class _Parser(CommandParser):
    """Leaves the options that Django does not know to the server."""

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        options, arguments = self.parse_known_args(args, namespace)
        options.arguments = arguments
        return options


class Command(BaseCommand):
    """The command."""

    help = (
        "Serves the project with rustwsgi, whose options this command takes as well. With DEBUG it"
        " reloads changed code, and serves static files from their sources."
    )
    stealth_options = ("arguments",)
    # They are called below, after the options that only print something.
    requires_system_checks = ()

    def create_parser(self, prog_name: str, subcommand: str, **_: Any) -> CommandParser:
        parser = _Parser(
            prog=f"{os.path.basename(prog_name)} {subcommand}",
            usage="%(prog)s [PORT | HOST:PORT] [options]",
            description=self.help,
            add_help=False,
            allow_abbrev=False,
            called_from_command_line=getattr(self, "_called_from_command_line", None),
        )
        parser.add_argument("-h", action=_Help, short=True, help="Show the options used most.")
        parser.add_argument("--help", action=_Help, short=False, help="Show all options.")
        parser.add_argument("--settings", help="The settings module.")
        parser.add_argument("--pythonpath", help="A directory to add to the Python path.")
        parser.add_argument("--skip-checks", action="store_true", help="Skip system checks.")
        parser.add_argument("--noreload", action="store_true", help="Do not reload, with DEBUG.")
        parser.add_argument("--no-color", action="store_true", help="Do not colour the output.")
        parser.add_argument("--force-color", action="store_true", help="Colour the output.")
        parser.add_argument("--traceback", action="store_true", help=argparse.SUPPRESS)
        parser.add_argument("--verbosity", type=int, default=1, help=argparse.SUPPRESS)
        return parser

    def handle(self, *_: Any, **options: Any) -> None:
        arguments = list(options.get("arguments") or ())
        address = ADDRESS.fullmatch(arguments[0]) if arguments else None
        if address is not None:
            arguments[:1] = ["--bind", f"{address[1] or '127.0.0.1'}:{address[2]}"]
        if not PRINTING & {*arguments}:
            self.announce(skip_checks=options["skip_checks"])
        connections.close_all()
        module = getattr(settings, "SETTINGS_MODULE", None)
        if module is None:
            # settings.configure(): only this process has them.
            load = application.development if settings.DEBUG else application.internal
            sys.exit(_launch.serve_here(load, arguments, _settings(reload=False)))
        os.environ["DJANGO_SETTINGS_MODULE"] = module
        given = _settings(reload=settings.DEBUG and not options["noreload"])
        _launch.replace_process([_application(), *arguments], given)

    def print_help(self, prog_name: str, subcommand: str) -> None:
        self.create_parser(prog_name, subcommand).parse_args(["-h"])

    def announce(self, *, skip_checks: bool) -> None:
        """Check the project, and print what ``runserver`` prints."""
        if not settings.DEBUG and not settings.ALLOWED_HOSTS:
            raise CommandError("You must set settings.ALLOWED_HOSTS if DEBUG is False.")
        if not skip_checks:
            self.stdout.write("Performing system checks...\n\n")
            self.check(display_num_errors=True)
        self.check_migrations()
        where = getattr(settings, "SETTINGS_MODULE", None)
        using = f", using settings {where!r}" if where else ""
        self.stdout.write(f"Django version {self.get_version()}{using}")
        self.stdout.write("Starting rustwsgi; quit it with CONTROL-C.")


class _Help(argparse.Action):
    """Prints the options of Django, then those of the server."""

    def __init__(self, short: bool, **keywords: Any) -> None:
        super().__init__(nargs=0, **{**keywords, "default": argparse.SUPPRESS})
        self.short = short

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        parser.print_help()
        print("\nOptions of rustwsgi:\n", flush=True)
        _rustwsgi.main(["rustwsgi", "-h" if self.short else "--help"])
        parser.exit()


def _settings(*, reload: bool) -> _launch.Settings:
    """The options of the setting RUSTWSGI, and the defaults of this command."""
    options = getattr(settings, "RUSTWSGI", {})
    if not isinstance(options, dict):
        raise CommandError("The setting RUSTWSGI is not a dict of options.")
    defaults: dict[str, Any] = {"reload": True} if reload else {}
    root = getattr(settings, "STATIC_ROOT", None)
    if not settings.DEBUG and settings.STATIC_URL and root and os.path.isdir(root):
        defaults["static"] = "auto"
    return _launch.Settings("the setting RUSTWSGI", options, defaults)


def _application() -> str:
    """The name of the application to serve."""
    if settings.DEBUG:
        return "rustwsgi.django.application:development()"
    name = getattr(settings, "WSGI_APPLICATION", None)
    if name is None:
        return "rustwsgi.django.application:internal()"
    module, _, attribute = name.rpartition(".")
    return f"{module}:{attribute}"
