"""A configuration of gunicorn: its Python file, its command line, or both.

Most settings are options of the same name and meaning. The others are treated as the server treats
them when it reads such a file itself, see `src/config/compat/gunicorn.rs`.
"""

from __future__ import annotations

import ast
import contextlib
import difflib
import os
import re
import traceback
from collections.abc import Callable
from typing import NamedTuple

from rustwsgi import _gunicorn, _rustwsgi
from rustwsgi._options import options
from rustwsgi.convert.conversion import Conversion, ConvertError, Given, number
from rustwsgi.convert.uwsgi_formats import read_text

#: Classes of workers that run other code than threads, and the usual number of requests at a time.
GREEN = ("gevent", "eventlet", "tornado", "meinheld")
GREEN_THREADS = 100
MAX_THREADS = 400
#: Settings with which gunicorn does something else than to serve.
COMMANDS = ("check_config", "print_config")
#: Lists that may be empty: of peers, and of their fields.
MAY_BE_EMPTY = ("forwarded_allow_ips", "forwarder_headers", "proxy_allow_from")


class Setting(NamedTuple):
    """A setting of gunicorn with its values."""

    name: str
    values: list[str]
    given: Given


class Flag(NamedTuple):
    """A flag of gunicorn's command line."""

    setting: str
    takes_value: bool
    is_repeatable: bool


def convert_file(path: str) -> Conversion:
    """Convert a ``gunicorn.conf.py``."""
    result = Conversion("gunicorn", os.path.basename(path))
    return finish(result, read_file(result, path))


def convert_command(arguments: list[str], source: str) -> Conversion:
    """Convert the arguments of ``gunicorn``, with the file that they name or that gunicorn would
    find."""
    result = Conversion("gunicorn", source)
    given = read_arguments(result, arguments)
    named = [setting.values[-1] for setting in given if setting.name == "config"]
    given = [setting for setting in given if setting.name != "config"]
    path = named[-1] if named else "gunicorn.conf.py"
    if named or os.path.isfile(path):
        result.remark(f"The settings of {path} are included.")
        given = read_file(result, path) + given
    return finish(result, given)


def read_file(result: Conversion, path: str) -> list[Setting]:
    """Execute the file, as the server does. Returns its settings."""
    path = path.removeprefix("file:")
    text = "" if path.startswith("python:") else read_text(path)
    known = {option.gunicorn: name for name, option in options().items() if option.gunicorn}
    others = [row[0] for row in _rustwsgi.gunicorn_rows()]
    try:
        values, hooks, _ = _gunicorn.execute(path, [*known, *others])
    except (Exception, SystemExit) as error:
        raise ConvertError(f"cannot execute {path}: {describe(error, path)}") from None
    if hooks.names():
        result.remark(
            f"Hooks cannot be part of this file: {', '.join(hooks.names())}. Keep them in {path}, "
            f"remove its settings, and name both: rustwsgi -c {path} reads this file as well."
        )
    elif text:
        result.remark(f"With this file, {path} is not read any more, unless it is named with -c.")
    computed = computed_settings(text)
    found = []
    for name, items in values:
        if name in hooks.names():
            continue
        if name == "logconfig_dict":
            # A dict of Python's objects, of which the values say whether there is one.
            if items == ["true"]:
                result.drop(Given(name), "write it to a file in JSON, and name it: log_config_json")
            continue
        if name in known or name in others:
            found.append(Setting(name, items, Given(name, ", ".join(items))))
            if name in computed and name in known:
                result.remark(
                    f"{path} computes {name}: {computed[name]}. Here is the result of this "
                    "conversion."
                )
            if name == "bind" and re.search("['\"]PORT['\"]", text):
                result.remark(
                    "Where the platform sets PORT, remove bind: the default is 0.0.0.0:$PORT then."
                )
        else:
            near = difflib.get_close_matches(name, [*known, *others], 1, 0.8)
            guess = f"; did you mean {near[0]}?" if near else ""
            result.drop(Given(name), f"this is no setting of gunicorn{guess}")
    return found


def describe(error: BaseException, path: str) -> str:
    """What an exception of a configuration file means, in one line."""
    if isinstance(error, SystemExit):
        return "it exits"
    if isinstance(error, ModuleNotFoundError) and (error.name or "").split(".")[0] == "gunicorn":
        return "it imports gunicorn, which is not installed: pip install gunicorn"
    lines = [str(entry.lineno) for entry in traceback.extract_tb(error.__traceback__)
             if entry.filename == path]  # fmt: skip
    if isinstance(error, SyntaxError) and error.lineno:
        lines, error = [str(error.lineno)], SyntaxError(error.msg)
    where = f"line {lines[-1]}: " if lines else ""
    return where + "".join(traceback.format_exception_only(type(error), error)).strip()


def computed_settings(text: str) -> dict[str, str]:
    """The names at the top of a file whose values are no literals, with their expressions."""
    found: dict[str, str] = {}
    try:
        body = ast.parse(text).body
    except (SyntaxError, ValueError, RecursionError):
        return {}
    for node in body:
        if not isinstance(node, (ast.Assign, ast.AnnAssign)) or node.value is None:
            continue
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        try:
            ast.literal_eval(node.value)
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            expression = " ".join(ast.unparse(node.value).split())
            found |= {each.id: expression for each in targets if isinstance(each, ast.Name)}
    return found


def flags() -> dict[str, Flag]:
    """The flags of gunicorn's command line, with hyphens in front."""
    found: dict[str, Flag] = {}
    for name, option in options().items():
        if option.gunicorn or name == "config":
            flag = Flag(option.gunicorn or name, not option.is_flag, option.is_repeatable)
            found |= {f"--{long}": flag for long in option.flags}
            found[f"--{(option.gunicorn or name).replace('_', '-')}"] = flag
            if option.short:
                found[f"-{option.short}"] = flag
    for name, long, takes_value in _rustwsgi.gunicorn_rows():
        if long:
            found[f"--{long}"] = Flag(name, takes_value, True)
    return found


def read_arguments(result: Conversion, arguments: list[str]) -> list[Setting]:
    """The settings of a command line."""
    known = flags()
    found: dict[str, Setting] = {}
    rest = list(reversed(arguments))

    def put(flag: Flag, value: str, given: Given) -> None:
        earlier = found.pop(flag.setting, None)
        values = [*earlier.values, value] if earlier and flag.is_repeatable else [value]
        found[flag.setting] = Setting(flag.setting, values, given)

    while rest:
        word = rest.pop()
        if not word.startswith("-") or word == "-":
            put(Flag("wsgi_app", True, False), word, Given(word))
            continue
        name, sign, value = word.partition("=")
        if not word.startswith("--"):
            name, sign, value = word[:2], word[2:], word[2:].removeprefix("=")
        else:
            name = name.replace("_", "-")
        flag = known.get(name) or abbreviated(name, known)
        if flag is None:
            result.drop(Given(word), "this is no option of gunicorn")
        elif not flag.takes_value:
            put(flag, "true", Given(name))
        else:
            if not sign:
                value = rest.pop() if rest else ""
            put(flag, value, Given(name, value, " "))
    return list(found.values())


def abbreviated(name: str, known: dict[str, Flag]) -> Flag | None:
    """The flag that begins so, if there is only one: gunicorn accepts that."""
    found = {flag for long, flag in known.items() if long.startswith(name)}
    return found.pop() if len(found) == 1 and name.startswith("--") and len(name) > 3 else None


def finish(result: Conversion, settings: list[Setting]) -> Conversion:
    """Convert the settings, of which later ones override earlier ones."""
    known = {option.gunicorn: name for name, option in options().items() if option.gunicorn}
    latest = {setting.name: setting for setting in settings}
    for setting in latest.values():
        rule = RULES.get(setting.name)
        if setting.name in COMMANDS:
            result.drop(setting.given, "this is a command, not a setting of a server")
        elif rule is not None:
            rule(result, setting)
        elif setting.name in known:
            put_option(result, known[setting.name], setting)
        else:
            reason = _rustwsgi.gunicorn_reason(setting.name, setting.values)
            result.drop(setting.given, reason or "this is gunicorn's default")
    defaults(result, latest)
    return result


def put_option(result: Conversion, name: str, setting: Setting) -> None:
    option = options()[name]
    values = [value for value in setting.values if value != ""]
    if option.is_flag:
        # A flag that is off has its default; written, the file says so.
        result.set(name, setting.values[-1:] == ["true"], setting.given)
    elif option.is_repeatable:
        for value in values:
            for part in value.split(",") if is_list(name) else [value]:
                result.add(name, part.strip(), setting.given)
        if not values and name in MAY_BE_EMPTY:
            result.add(name, "", setting.given)
    elif values:
        result.set(name, number(values[-1]), setting.given)


def is_list(name: str) -> bool:
    """Whether the values of an option may be separated by commas."""
    return name in ("bind", "pythonpath", *MAY_BE_EMPTY)


def on_bind(result: Conversion, setting: Setting) -> None:
    for value in setting.values:
        for address in value.split(","):
            text = address.strip()
            text = text.removeprefix("*") if text.startswith("*:") else text
            if text:
                result.add("bind", text, setting.given)


def on_worker_class(result: Conversion, setting: Setting) -> None:
    name = setting.values[-1] if setting.values else ""
    if any(green in name.lower() for green in GREEN):
        result.drop(setting.given, "green threads are not supported: see threads")
    elif "uvicorn" in name.lower() or "asgi" in name.lower():
        result.drop(
            setting.given,
            "rustwsgi serves WSGI applications only: use an ASGI server, or name the WSGI "
            "application of the framework",
        )
    elif name:
        result.set("worker_class", name, setting.given)


def on_umask(result: Conversion, setting: Setting) -> None:
    """In a file it is a number, which `_gunicorn` has written in octal; a command line has one in
    the notation of Python."""
    text = setting.values[-1]
    if setting.given.name.startswith("-"):
        with contextlib.suppress(ValueError):
            text = f"{int(text, 0):03o}"
    result.set("umask", text, setting.given)


RULES: dict[str, Callable[[Conversion, Setting], None]] = {
    "bind": on_bind,
    "umask": on_umask,
    "worker_class": on_worker_class,
}


def defaults(result: Conversion, settings: dict[str, Setting]) -> None:
    """Make what gunicorn does by default explicit."""
    worker_class = settings.get("worker_class")
    name = worker_class.values[-1].lower() if worker_class and worker_class.values else ""
    if result.get("threads") is None and any(green in name for green in GREEN):
        connections = settings.get("worker_connections")
        count = connections.values[-1] if connections and connections.values else ""
        threads = min(int(count), MAX_THREADS) if count.isdecimal() else GREEN_THREADS
        result.set("threads", max(threads, 1), None, f"in place of {name}, which is not supported")
    elif result.get("threads") is None and result.get("worker_class") is None:
        comment = "gunicorn's default; use more if the application is thread-safe"
        result.set("threads", 1, None, comment)
    result.default("timeout", 30, "gunicorn ends a worker that is silent for so long; here the "
                   "one request ends, and there is no limit by default")  # fmt: skip
    result.default("keep_alive", 2, "here 5; behind a proxy 75")
