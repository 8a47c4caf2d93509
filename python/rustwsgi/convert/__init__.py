"""``rustwsgi convert``: prints a ``rustwsgi.toml`` for the configuration of another server.

The file or command of the source becomes a `Conversion`, by the module of its server. Nothing is
written but to standard output.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import sys
from typing import TextIO

from rustwsgi.convert.conversion import Conversion, ConvertError, Given
from rustwsgi.convert.uwsgi_files import Reader
from rustwsgi.convert.uwsgi_formats import read_text

USAGE = """\
Usage: rustwsgi convert [--from FORMAT] FILE
       rustwsgi convert [--from FORMAT] -- COMMAND...

Prints a rustwsgi.toml for the configuration of another server. Comments name
each option that has no equivalent, and why.

FILE is a uwsgi.ini (or .yaml, .xml, .json), a gunicorn.conf.py, or a Procfile,
systemd unit, Dockerfile or shell script with the command of a server.
COMMAND is the command itself: gunicorn, uwsgi, waitress-serve or
mod_wsgi-express. A gunicorn.conf.py is executed, as by gunicorn.

Options:
      --from FORMAT  One of FORMATS;
                     without it, the name and the content of FILE decide
  -h, --help         Print this text

Examples:
  rustwsgi convert uwsgi.ini > rustwsgi.toml
  rustwsgi convert -- gunicorn -w 4 -b :8000 mysite.wsgi
"""
#: Formats of files that have a command, and of command lines.
WITH_COMMAND = ("procfile", "systemd", "dockerfile", "shell")
SERVERS = ("uwsgi", "gunicorn", "waitress", "mod_wsgi")
FORMATS = (*SERVERS, *WITH_COMMAND)
USAGE_ERROR = 2


def main(arguments: list[str]) -> int:
    """Run the command with these arguments. Returns the exit code."""
    try:
        # What a configuration file prints must not become part of the result.
        with contextlib.redirect_stdout(sys.stderr):
            text = run(arguments)
    except ConvertError as error:
        print(f"error: {one_line(str(error))}", file=sys.stderr)
        return USAGE_ERROR
    return write(text, sys.stdout)


def one_line(text: str) -> str:
    return "".join(char if char.isprintable() or char == "\n" else "?" for char in text)


def write(text: str, stream: TextIO) -> int:
    """Print a result. A closed pipe, as in ``rustwsgi convert … | head``, is no error."""
    try:
        stream.write(text)
        stream.flush()
    except BrokenPipeError:
        # Python flushes the stream once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return 0


def run(arguments: list[str]) -> str:
    """The text to print."""
    format, words, is_command = parse(arguments)
    if format == "help":
        return USAGE.replace("FORMATS", ", ".join(FORMATS[:4]) + ",\n" + " " * 21
                             + ", ".join(FORMATS[4:]))  # fmt: skip
    if not words:
        raise ConvertError(
            "name the file to convert, or a command behind --, as in: rustwsgi convert uwsgi.ini"
        )
    if is_command or len(words) > 1:
        return convert_command(format, words).render()
    return convert_file(format, words[0]).render()


def parse(arguments: list[str]) -> tuple[str, list[str], bool]:
    """The format or nothing, the words, and whether they are a command."""
    format, rest = "", list(arguments)
    while rest:
        word = rest[0]
        if word in ("-h", "--help"):
            return "help", [], False
        if word == "--":
            return format, rest[1:], True
        name, sign, value = word.partition("=")
        if name != "--from":
            if word.startswith("-"):
                raise ConvertError(f"unknown option {name}: see rustwsgi convert --help")
            if not rest[1:] or not rest[1].startswith("--from"):
                break
            # The option may follow the file, too.
            rest = [*rest[1:], word]
            continue
        rest.pop(0)
        if not sign:
            value = rest.pop(0) if rest else ""
        format = value.lower().replace("-express", "").replace("-", "_")
        if format not in FORMATS:
            raise ConvertError(f"--from: {value!r} is not one of {', '.join(FORMATS)}")
    return format, rest, False


def convert_command(format: str, words: list[str]) -> Conversion:
    from rustwsgi.convert import commands

    text = " ".join(words)
    if len(words) == 1:
        words = commands.split(words[0])
    command = commands.of_words(words)
    if command is None and format in SERVERS:
        command = commands.Command(format, words)
    if command is None:
        raise ConvertError(
            f"'{text}' is not the command of a known server: begin with gunicorn, uwsgi, "
            "waitress-serve or mod_wsgi-express"
        )
    return of_command(command, "a command line")


def of_command(command: object, source: str) -> Conversion:
    """Convert the command of a server."""
    from rustwsgi.convert import commands, gunicorn, mod_wsgi, waitress

    assert isinstance(command, commands.Command)
    arguments = command.arguments
    if command.server == "gunicorn":
        result = gunicorn.convert_command(arguments, source)
    elif command.server == "waitress":
        result = waitress.convert(arguments, source)
    elif command.server == "mod_wsgi":
        result = mod_wsgi.convert(arguments, source)
    else:
        from rustwsgi.convert import uwsgi, uwsgi_command

        reader = Reader()
        uwsgi_command.command_line(reader, arguments)
        result = uwsgi.convert(reader, source)
    for variable in command.env:
        result.add("env", variable, Given(variable))
    if command.directory and result.get("chdir") is None:
        result.set("chdir", command.directory, Given("WorkingDirectory", command.directory, "="))
    if command.wrapper:
        result.remark(f"Keep in front of the command: {shlex.join(command.wrapper)}")
    for text in command.remarks:
        result.remark(text)
    return result


def convert_file(format: str, path: str) -> Conversion:
    text = read_text(path)
    format = format or detect(path, text)
    name = os.path.basename(path)
    if format in WITH_COMMAND:
        from rustwsgi.convert import commands

        return of_command(commands.in_file(format, path, text), name)
    if format == "gunicorn":
        from rustwsgi.convert import gunicorn

        return gunicorn.convert_file(path)
    if format == "uwsgi":
        from rustwsgi.convert import uwsgi

        reader = Reader()
        reader.read(path)
        return uwsgi.convert(reader, name)
    raise ConvertError(f"{format} has no configuration file: write its command behind --")


#: The content of files, in the order in which they are tried.
CONTENTS = (
    (r"(?m)^\s*\[uwsgi\]|<uwsgi[\s>/]|^uwsgi\s*:|\"uwsgi\"\s*:", "uwsgi"),
    (r"(?m)^\s*ExecStart\s*=", "systemd"),
    (r"(?mi)^\s*FROM\s+\S+(?s:.)*^\s*(CMD|ENTRYPOINT)\s", "dockerfile"),
    (r"(?m)^[\w-]+:\s.*\b(gunicorn|uwsgi|waitress-serve|mod_wsgi-express)\b", "procfile"),
    (r"(?m)^\s*(bind|workers|threads|timeout|accesslog|errorlog|wsgi_app)\s*=", "gunicorn"),
    (r"\b(gunicorn|uwsgi|waitress-serve|mod_wsgi-express)\b", "shell"),
)


def detect(path: str, text: str) -> str:
    """The format of a file, from its name and its content."""
    name = os.path.basename(path).lower()
    extension = os.path.splitext(name)[1]
    if extension == ".toml":
        raise ConvertError(f"{path} is a TOML file: rustwsgi reads those itself, with -c")
    if extension == ".py":
        return "gunicorn"
    if name.startswith("procfile"):
        return "procfile"
    if name.startswith("dockerfile") or name.endswith(".dockerfile"):
        return "dockerfile"
    if extension == ".service":
        return "systemd"
    if re.search(r"(?m)^\s*\[(server|app|composite):", text) and "[uwsgi]" not in text:
        raise ConvertError(
            f"{path} is a file of PasteDeploy: start it with rustwsgi --paste {path}"
        )
    for pattern, format in CONTENTS:
        if re.search(pattern, text):
            return format
    raise ConvertError(f"cannot find out the format of {path}: name it with --from")
