"""PasteDeploy: ``use = egg:rustwsgi#main`` in the section ``[server:main]``, and ``--paste FILE``.

``pserve`` finds :func:`server_factory` or :func:`server_runner` by their entry points. It has
loaded the application itself, so workers are forked from its process, and only a restart loads new
code.
``rustwsgi --paste FILE`` calls :func:`load` in each worker, so that a reload does.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from rustwsgi import _launch


def server_runner(app: Any, global_conf: Mapping[str, str] | None, /, **options: str) -> None:
    """Serve ``app`` with the options of a section, until a signal ends the server."""
    file = (global_conf or {}).get("__file__")
    origin = f"the server section of {file}" if file else "the server section"
    config = options.pop("config", None)
    arguments = ["--config", config] if config else []
    settings = {name: _values(value) for name, value in options.items()}
    code = _launch.serve_here(lambda: app, arguments, _launch.Settings(origin, settings))
    if code:
        # pserve would end with status 0 after SystemExit.
        raise RuntimeError(f"rustwsgi has ended with exit code {code}; its log says why")


def server_factory(
    global_conf: Mapping[str, str] | None, /, **options: str
) -> Callable[[Any], None]:
    """The function that serves an application with the options of a section."""
    return lambda app: server_runner(app, global_conf, **options)


def _values(text: str) -> str | list[str]:
    """The value of an option; those of a repeatable one are on lines of their own."""
    lines = [line.strip() for line in str(text).strip().splitlines()]
    return lines if len(lines) > 1 else "".join(lines)


def load(path: str, name: str = "", variables: Mapping[str, str] | None = None) -> Any:
    """Load the application ``name`` (``main`` by default) of a PasteDeploy file, after its logging
    configuration."""
    try:
        from paste.deploy import loadapp
    except ImportError:
        raise ImportError(
            "--paste needs the package PasteDeploy: pip install PasteDeploy"
        ) from None
    variables = dict(variables or {})
    set_up_logging(path, variables)
    return loadapp(f"config:{path}", name=name or None, global_conf=variables)


def set_up_logging(path: str, variables: Mapping[str, str]) -> None:
    """Apply the logging configuration of a file, if it has one, as ``pserve`` does."""
    import configparser
    import logging.config

    values = {"__file__": path, "here": os.path.dirname(path), **variables}
    defaults = {key: value.replace("%", "%%") for key, value in values.items()}
    parser = configparser.ConfigParser(defaults)
    parser.read([path], encoding="utf-8")
    if parser.has_section("loggers"):
        logging.config.fileConfig(parser, disable_existing_loggers=False)
