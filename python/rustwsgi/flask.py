"""``flask --app x rustwsgi [options]``: serves the application of the ``flask`` command.

Flask finds the command by the entry point in the group ``flask.commands``. Options are those of
``rustwsgi``. With ``--debug`` the server runs with ``--reload``.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from rustwsgi import _launch


@click.command(
    "rustwsgi",
    short_help="Run rustwsgi.",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    add_help_option=False,
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def command(context: click.Context, arguments: tuple[str, ...]) -> None:
    """Serve the application with rustwsgi, whose options this command takes."""
    from flask.cli import ScriptInfo
    from flask.helpers import get_debug_flag

    info = context.ensure_object(ScriptInfo)
    variables = ("FLASK_RUN_HOST", "host"), ("FLASK_RUN_PORT", "port")
    defaults: dict[str, Any] = {
        option: os.environ[name] for name, option in variables if os.environ.get(name)
    }
    if get_debug_flag():
        defaults["reload"] = True
    settings = _launch.Settings("flask rustwsgi", defaults=defaults)
    if info.create_app is not None:
        # The group of a program: only this process has its factory.
        sys.exit(_launch.serve_here(info.load_app, arguments, settings))
    given = [info.app_import_path] if info.app_import_path else []
    named = ", ".join([*map(repr, given), *([] if info.set_debug_flag else ["set_debug=False"])])
    _launch.replace_process([f"rustwsgi.flask:load_app({named})", *arguments], settings)


def load_app(path: str | None = None, *, set_debug: bool = True) -> Any:
    """Load the application as ``flask --app path`` does, without a path from ``wsgi.py`` or
    ``app.py``."""
    from flask.cli import ScriptInfo

    return ScriptInfo(app_import_path=path, set_debug_flag=set_debug).load_app()
