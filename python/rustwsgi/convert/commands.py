"""Finds the command of a server: in a Procfile, a systemd unit, a Dockerfile or a shell script."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from rustwsgi.convert.conversion import CLOSE, OPEN, OWN_VARIABLES, ConvertError

#: The programs, and the formats of their arguments.
PROGRAMS = {
    "gunicorn": "gunicorn",
    "gunicorn3": "gunicorn",
    "uwsgi": "uwsgi",
    "uwsgi-core": "uwsgi",
    "uwsgi_python3": "uwsgi",
    "waitress-serve": "waitress",
    "mod_wsgi-express": "mod_wsgi",
}
#: Modules that `python -m` runs.
MODULES = {"gunicorn": "gunicorn", "gunicorn.app.wsgiapp": "gunicorn", "waitress": "waitress"}
#: What ends a command of a shell.
ENDS = re.compile(r"^(?:;|&&?|\|\|?|\d?>{1,2}.*|\d?>&.*|<.*)$")
#: `NAME=VALUE` in front of a command.
ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=.*", re.DOTALL)
#: `$NAME`, `${NAME}`, `${NAME:-DEFAULT}` and `$(COMMAND)`.
VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)(?::?-([^}]*))?\}|\(([^()]*)\))")


@dataclass
class Command:
    """The command of a server."""

    #: The format of its arguments.
    server: str
    arguments: list[str]
    #: Words in front of the program, without those that only start it.
    wrapper: list[str] = field(default_factory=list)
    #: Variables that are set for it.
    env: list[str] = field(default_factory=list)
    #: Its working directory, if the file names one.
    directory: str = ""
    #: What else the file says, for comments.
    remarks: list[str] = field(default_factory=list)


def of_words(words: list[str], variables: Mapping[str, str] | None = None) -> Command | None:
    """The command in these words of a shell, with the `variables` that its script has set."""
    env: list[str] = []
    for index, word in enumerate(words):
        name = os.path.basename(word)
        server = PROGRAMS.get(name)
        if name == "-m" and index + 1 < len(words):
            server = MODULES.get(words[index + 1])
            arguments = words[index + 2 :]
        else:
            arguments = words[index + 1 :]
        if server is None:
            if ASSIGNMENT.fullmatch(word):
                env.append(word)
            continue
        end = next((at for at, each in enumerate(arguments) if ENDS.match(each)), len(arguments))
        used: dict[str, str] = {}
        command = Command(server, [expand(each, used, variables) for each in arguments[:end]])
        command.arguments = [each.rstrip(";") for each in command.arguments if each.rstrip(";")]
        command.env = [expand(each, used, variables) for each in env]
        command.wrapper = list(wrapper(words[:index]))
        command.remarks = [
            f"${name} was replaced by its {what} during this conversion."
            for name, what in used.items()
        ]
        command.remarks += lost_defaults(arguments[:end], variables or {})
        return command
    return None


def wrapper(words: list[str]) -> Iterator[str]:
    """The words that must stay in front of the server's command."""
    rest = list(words)
    while rest:
        word = rest.pop(0)
        name = os.path.basename(word)
        if ASSIGNMENT.fullmatch(word) or name in ("exec", "env", "time", "nohup"):
            continue
        if re.fullmatch(r"python[\d.]*", name):
            continue
        if name in ("poetry", "pipenv", "uv", "pdm", "hatch") and rest[:1] == ["run"]:
            rest.pop(0)
            continue
        yield word


def expand(word: str, used: dict[str, str], variables: Mapping[str, str] | None = None) -> str:
    """Replace variables of a shell. One that is not set is marked."""
    variables = variables or {}

    def replace(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        if name is None:
            return f"{OPEN}({match[4]}){CLOSE}"
        if name in variables:
            return variables[name]
        value = os.environ.get(name)
        if name in OWN_VARIABLES:
            return f"{OPEN}{name}{CLOSE}"
        if value is not None:
            used[name] = "value"
            return value
        if match[3] is not None:
            used[name] = "default"
            return match[3]
        return f"{OPEN}{name}{CLOSE}"

    return VARIABLE.sub(replace, word)


def lost_defaults(words: list[str], variables: Mapping[str, str]) -> list[str]:
    """Remarks on `${PORT:-8000}` and its like: the server reads the variable itself, and has
    another default."""
    found = [match for word in words for match in VARIABLE.finditer(word)]
    return [
        f"Set ${match[2]}: without it the command used {match[3]}, and rustwsgi uses its own "
        f"default of {OWN_VARIABLES[match[2]]}."
        for match in found
        if match[3] and match[2] in OWN_VARIABLES and match[2] not in variables
    ]


def split(text: str) -> list[str]:
    """The words of a line of a shell; nothing if a quotation mark is not closed."""
    try:
        return shlex.split(text, comments=True)
    except ValueError:
        return []


def joined_lines(text: str) -> list[str]:
    """The lines, with those that a backslash continues."""
    return re.sub(r"\\[ \t]*\r?\n", " ", text).replace("\r\n", "\n").split("\n")


def in_procfile(text: str) -> Command | None:
    found = None
    for line in joined_lines(text):
        name, colon, command = line.partition(":")
        parsed = of_words(split(command)) if colon else None
        if parsed and (found is None or name.strip() == "web"):
            found = parsed
    return found


def in_unit(text: str) -> Command | None:
    """The command of a systemd unit, with its directory and variables."""
    command: Command | None = None
    settings: dict[str, list[str]] = {}
    for line in joined_lines(text):
        key, sign, value = line.strip().partition("=")
        if sign and key[:1] not in "#;":
            settings.setdefault(key.strip(), []).append(value.strip())
    for line in settings.get("ExecStart", []):
        # `@`, `-`, `:`, `+` and `!` modify how systemd starts the command.
        command = command or of_words(split(line.lstrip("@-:+!")))
    if command is None:
        return None
    command.directory = settings.get("WorkingDirectory", [""])[-1].lstrip("-~")
    for line in settings.get("Environment", []):
        command.env += split(line)
    for name in settings.get("EnvironmentFile", []):
        command.remarks.append(f"The unit reads variables from {name.lstrip('-')}: keep that line.")
    kept = [key for key in ("User", "Group", "RuntimeDirectory", "UMask") if key in settings]
    if kept:
        names = ", ".join(f"{key}={settings[key][-1]}" for key in kept)
        command.remarks.append(f"These lines stay in the unit: {names}.")
    command.remarks.append("`rustwsgi init systemd` prints a complete unit.")
    return command


def in_dockerfile(text: str) -> Command | None:
    """The command of an image: ENTRYPOINT with CMD behind it."""
    parts: dict[str, list[str]] = {}
    for line in joined_lines(text):
        match = re.match(r"\s*(ENTRYPOINT|CMD)\s+(.+)", line, re.IGNORECASE)
        if match:
            parts[match[1].upper()] = words_of_instruction(match[2])
    together = parts.get("ENTRYPOINT", []) + parts.get("CMD", [])
    return of_words(together) or of_words(parts.get("CMD", []))


def words_of_instruction(text: str) -> list[str]:
    """The words of `["a", "b"]`, or of a line of a shell."""
    try:
        words = json.loads(text)
        if isinstance(words, list) and all(isinstance(word, str) for word in words):
            # `["sh", "-c", "gunicorn app"]`
            return split(words[-1]) if words[:2] in (["sh", "-c"], ["/bin/sh", "-c"]) else words
    except (ValueError, RecursionError):
        pass
    return split(text)


def in_shell(text: str) -> Command | None:
    """The first command of a script that starts a server, in the directory that it enters."""
    variables: dict[str, str] = {}
    directory = ""
    for line in joined_lines(text):
        words = split(line)
        names = words[1:] if words[:1] == ["export"] else words
        if names and all(ASSIGNMENT.fullmatch(word) for word in names):
            for word in names:
                name, _, value = word.partition("=")
                variables[name] = expand(value, {}, variables)
        elif words[:1] == ["cd"] and len(words) > 1:
            directory = os.path.join(directory, expand(words[1], {}, variables))
        elif command := of_words(words, variables):
            command.directory = directory
            return command
    return None


FINDERS = {
    "procfile": in_procfile,
    "systemd": in_unit,
    "dockerfile": in_dockerfile,
    "shell": in_shell,
}


def in_file(format: str, path: str, text: str) -> Command:
    """The command in a file of this format."""
    command = FINDERS[format](text)
    if command is None:
        names = ", ".join(["gunicorn", "uwsgi", "waitress-serve", "mod_wsgi-express"])
        raise ConvertError(f"{path} has no command of a known server ({names})")
    return command
