"""The corpus of configurations of other servers: converted, and the applications that they name.

`tests/convert/corpus` has the files, with paths below `/srv`, which become those of a directory of the
test.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from harness import ROOT, TESTS

CORPUS = TESTS / "convert" / "corpus"
#: What a file of the corpus includes is no configuration of its own.
PARTS = "parts"
FILES = sorted(
    str(path.relative_to(CORPUS))
    for path in CORPUS.rglob("*")
    if path.is_file() and PARTS not in path.parts
)

#: A module that has an application under all names that the corpus uses.
MODULE = """
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "2")])
    return [b"ok"]

application = web_app = handler = app

def create_app():
    return app

Handler = create_app
"""


def prepare(directory: Path) -> Path:
    """A copy of the corpus in `directory`, with the paths of that directory."""
    site = directory / "corpus"
    shutil.copytree(CORPUS, site)
    for path in site.rglob("*"):
        if path.is_file():
            path.write_text(re.sub(r"(?<!\w)/srv\b", f"{directory}/srv", path.read_text()))
    for name in ("run", "log", "certs", "spool"):
        (directory / "srv" / name).mkdir(parents=True)
    shutil.copy(ROOT / "fuzz" / "tls" / "cert.pem", directory / "srv" / "certs" / "site.pem")
    shutil.copy(ROOT / "fuzz" / "tls" / "key.pem", directory / "srv" / "certs" / "site.key")
    return site


def convert_in(path: Path) -> str:
    """The `rustwsgi.toml` for a file, converted in its directory by the wheel's module."""
    from rustwsgi import convert

    before = os.getcwd()
    os.chdir(path.parent)
    try:
        return convert.run([path.name])
    finally:
        os.chdir(before)


def call(
    command: str, *arguments: str, cwd: Path, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run `rustwsgi COMMAND ARGUMENTS` by the wheel's module in this process, which takes a tenth of
    the time of a process of its own."""
    module = importlib.import_module(f"rustwsgi.{command}")
    out, err = io.StringIO(), io.StringIO()
    before, variables = os.getcwd(), dict(os.environ)
    os.chdir(cwd)
    os.environ.update(env or {})
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = module.main(list(arguments))
    finally:
        os.chdir(before)
        os.environ.clear()
        os.environ.update(variables)
    return subprocess.CompletedProcess([command, *arguments], code, out.getvalue(), err.getvalue())


def value(text: str, name: str) -> str | None:
    """The value of an option with quotation marks, or of the first item of a list."""
    found = re.search(rf'(?m)^{name} = \[?\s*"((?:[^"\\]|\\.)*)"', text)
    return found[1] if found else None


def values(text: str, name: str) -> list[str]:
    """The items of a list."""
    found = re.search(rf"(?ms)^{name} = \[(.*?)\]$", text)
    return re.findall(r'"((?:[^"\\]|\\.)*)"', found[1]) if found else []


def make_site(text: str, directory: Path) -> None:
    """Make the module and the directories of static files that a converted file names."""
    home = directory / (value(text, "chdir") or "")
    for source in values(text, "static"):
        (home / source.partition("=")[2]).mkdir(parents=True, exist_ok=True)
    app = value(text, "app")
    assert app is not None, text
    module = home / f"{app.partition(':')[0].replace('.', '/')}.py"
    module.parent.mkdir(parents=True, exist_ok=True)
    module.write_text(MODULE)
