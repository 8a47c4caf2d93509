"""`rustwsgi` alone: finds the application of the project, or says what to write."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from harness import ServerProcess, run_cli
from harness.projects import write

MANAGE = 'import os\nos.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")\n'
FLASK = "from flask import Flask\n"
WSGI = "def application(environ, start_response): ...\n"

FOUND = {
    "django": (
        {
            "manage.py": MANAGE,
            "shop/settings.py": 'WSGI_APPLICATION = "shop.web.handler"',
            "shop/web.py": "",
        },
        "shop.web:handler",
        "manage.py",
    ),
    "django-settings-in-parts": (
        {
            "manage.py": MANAGE,
            "shop/settings/__init__.py": "from .production import *",
            "shop/settings/production.py": "from shop.settings.base import *",
            "shop/settings/base.py": 'WSGI_APPLICATION = "shop.wsgi.application"',
            "shop/wsgi.py": WSGI,
        },
        "shop.wsgi:application",
        "manage.py",
    ),
    "django-without-the-setting": (
        {"manage.py": MANAGE, "shop/settings.py": "DEBUG = True", "shop/wsgi.py": WSGI},
        "shop.wsgi:application",
        "manage.py",
    ),
    "app": ({"app.py": f"{FLASK}app = Flask(__name__)"}, "app:app", "app.py"),
    "wsgi-before-app": (
        {"wsgi.py": "from app import app", "app.py": f"{FLASK}app = Flask(__name__)"},
        "wsgi:app",
        "wsgi.py",
    ),
    "only-application": ({"app.py": f"{FLASK}site = Flask(__name__)"}, "app:site", "app.py"),
    "factory": ({"app.py": "def create_app(name='x'): ..."}, "app:create_app()", "app.py"),
    "other-factory": ({"wsgi.py": "def make_app(): ..."}, "wsgi:make_app()", "wsgi.py"),
    "package": (
        {"app/__init__.py": "def create_app(): ..."},
        "app:create_app()",
        "app/__init__.py",
    ),
    "within-try": ({"app.py": "try:\n    app = make()\nexcept E:\n    raise"}, "app:app", "app.py"),
    "unless-started-itself": (
        {"app.py": "if __name__ != '__main__':\n    app = make()"},
        "app:app",
        "app.py",
    ),
    "else-of-the-main-guard": (
        {"app.py": "if '__main__' == __name__:\n    run()\nelse:\n    app = make()"},
        "app:app",
        "app.py",
    ),
    "main": ({"main.py": "app = create_app()"}, "main:app", "main.py"),
    "module-without-one": ({"wsgi.py": "x = 1", "app.py": "app = make()"}, "app:app", "app.py"),
    "package-before-module-of-the-same-name": (
        {"app/__init__.py": "def create_app(): ...", "app.py": "x = 1"},
        "app:create_app()",
        "app/__init__.py",
    ),
    "syntax-error": ({"app.py": f"{FLASK}app = Flask('x'\n"}, "app", "app.py"),
    "syntax-error-in-the-preferred-module": (
        {"wsgi.py": "from app import (app", "app.py": f"{FLASK}app = Flask('x')"},
        "wsgi",
        "wsgi.py",
    ),
    "all-names-of-another-module": ({"wsgi.py": "from shop.wsgi import *"}, "wsgi", "wsgi.py"),
    "tuple": ({"app.py": "app, db = make()"}, "app:app", "app.py"),
    "class": ({"wsgi.py": "class application: ..."}, "wsgi:application", "wsgi.py"),
    "coroutine": ({"app.py": "async def app(scope, receive, send): ..."}, "app:app", "app.py"),
    "django-with-computed-settings": (
        {
            "manage.py": 'os.environ.setdefault("DJANGO_SETTINGS_MODULE", os.getenv("S", "shop.x"))',
            "shop/wsgi.py": WSGI,
        },
        "shop.wsgi:application",
        "manage.py",
    ),
    "django-with-a-syntax-error": (
        {"manage.py": MANAGE, "shop/settings.py": "x = (", "shop/wsgi.py": WSGI},
        "shop.wsgi:application",
        "manage.py",
    ),
    "django-beside-two-others": (
        {
            "manage.py": MANAGE,
            "shop/settings.py": "",
            "shop/wsgi.py": WSGI,
            "app.py": f"{FLASK}one = Flask('a')\ntwo = Flask('b')",
        },
        "shop.wsgi:application",
        "manage.py",
    ),
    "env-before-flaskenv": (
        {".env": "FLASK_APP=shop", ".flaskenv": "FLASK_APP=other"},
        "rustwsgi.flask:load_app('shop')",
        "FLASK_APP of .env",
    ),
    "flaskenv": (
        {".flaskenv": "# x\nexport FLASK_APP='shop:make(\"a\")'\n", "app.py": "app = 1"},
        "rustwsgi.flask:load_app('shop:make(\"a\")')",
        "FLASK_APP of .flaskenv",
    ),
}

ABSENT = {
    "nothing": ({}, "write rustwsgi MODULE:NAME"),
    "another-name": ({"hello.py": f"{FLASK}app = Flask(__name__)"}, "write rustwsgi hello:app"),
    "other-names": (
        {"a.py": "app = 1", "b.py": "app = 1"},
        "write rustwsgi a:app or rustwsgi b:app",
    ),
    "package-with-a-factory": (
        {"site/__init__.py": "def create_app(): ..."},
        "'site:create_app()'",
    ),
    "package-with-a-factory-with-arguments": (
        {"flaskr/__init__.py": "def create_app(config): ..."},
        'flaskr/__init__.py needs arguments: write them, as in rustwsgi "flaskr:create_app(',
    ),
    "below": ({"src/manage.py": MANAGE}, "write rustwsgi --chdir src"),
    "below-elsewhere": ({"backend/app.py": "app = make()"}, "write rustwsgi --chdir backend"),
    "package-in-src": (
        {"pyproject.toml": "", "src/shop/__init__.py": "def create_app(): ..."},
        "write rustwsgi --chdir src 'shop:create_app()'",
    ),
    "package-with-wsgi-in-src": (
        {"src/shop/__init__.py": "", "src/shop/wsgi.py": WSGI},
        "write rustwsgi --chdir src shop.wsgi:application",
    ),
    "pyproject-alone": ({"pyproject.toml": "[project]\nname = 'x'"}, "write rustwsgi MODULE:NAME"),
    "virtual-environment": (
        {"env/pyvenv.cfg": "", "env/app.py": "app = 1"},
        "write rustwsgi MODULE:NAME",
    ),
    "main-with-a-syntax-error": ({"main.py": "app = ("}, "main.py cannot be parsed: line 1: "),
    "manage-with-a-syntax-error": ({"manage.py": "def (:"}, "manage.py cannot be parsed: line 1: "),
    "django-with-computed-settings-of-two": (
        {
            "manage.py": 'os.environ["DJANGO_SETTINGS_MODULE"] = choose()',
            "a/wsgi.py": WSGI,
            "b/wsgi.py": WSGI,
        },
        "write rustwsgi a.wsgi:application or rustwsgi b.wsgi:application",
    ),
    "django-on-another-path": (
        {"manage.py": MANAGE, "src/shop/settings.py": "", "src/shop/wsgi.py": WSGI},
        "write rustwsgi --pythonpath src shop.wsgi:application",
    ),
    "paste": ({"development.ini": ""}, "write rustwsgi --paste development.ini"),
    "any-main": ({"main.py": "app = Typer()"}, "write rustwsgi main:app"),
    "script": (
        {"app.py": "if __name__ == '__main__':\n    app = 1"},
        "app.py makes app below if __name__ == '__main__'",
    ),
    "script-with-else": (
        {"app.py": "if __name__ != '__main__':\n    x = 1\nelse:\n    app = 1"},
        "app.py makes app below if __name__ == '__main__'",
    ),
    "two": (
        {"app.py": f"{FLASK}one = Flask('a')\ntwo = Flask('b')"},
        "2 applications: write rustwsgi app:one or rustwsgi app:two",
    ),
    "factory-with-arguments": ({"app.py": "def create_app(env): ..."}, "create_app('production')"),
    "django-and-another": (
        {
            "manage.py": MANAGE,
            "shop/settings.py": "",
            "shop/wsgi.py": WSGI,
            "app.py": f"{FLASK}app = Flask(__name__)",
        },
        "write rustwsgi shop.wsgi:application or rustwsgi app:app",
    ),
    "package-with-wsgi": (
        {"shop/__init__.py": "", "shop/wsgi.py": WSGI},
        "write rustwsgi shop.wsgi:application",
    ),
    "directory-with-wsgi": ({"shop/wsgi.py": WSGI}, "write rustwsgi --chdir shop"),
    "django-without-an-application": (
        {"manage.py": MANAGE, "shop/settings.py": ""},
        "name no WSGI",
    ),
}


@pytest.mark.parametrize(("files", "name", "place"), FOUND.values(), ids=FOUND)
def test_application_is_found(tmp_path: Path, files: dict[str, str], name: str, place: str) -> None:
    finder = pytest.importorskip("rustwsgi._finder")
    found = finder.find(str(write(tmp_path, files)), {})
    assert found == (name, place)


@pytest.mark.parametrize(("files", "said"), ABSENT.values(), ids=ABSENT)
def test_absent_or_ambiguous_application_is_explained(
    tmp_path: Path, files: dict[str, str], said: str
) -> None:
    finder = pytest.importorskip("rustwsgi._finder")
    with pytest.raises(pytest.importorskip("rustwsgi._candidates").NotFound) as refused:
        finder.find(str(write(tmp_path, files)), {})
    assert said in str(refused.value)


def test_variables_of_the_environment_name_the_application(tmp_path: Path) -> None:
    finder = pytest.importorskip("rustwsgi._finder")
    write(tmp_path, {**FOUND["django"][0], "shop/other.py": 'WSGI_APPLICATION = "shop.web.other"'})
    found = finder.find(str(tmp_path), {"DJANGO_SETTINGS_MODULE": "shop.other"})
    assert found.name == "shop.web:other"
    found = finder.find(str(tmp_path), {"FLASK_APP": "x.py"})
    assert found == ("rustwsgi.flask:load_app('x.py')", "FLASK_APP")


APP = """
def application(environ, start_response):
    start_response("200 OK", [])
    return [b"found"]
"""


def test_found_application_is_served_and_named(door: str, tmp_path: Path) -> None:
    write(tmp_path, {"site/wsgi.py": APP, "trap.py": "raise SystemExit('imported')"})
    with ServerProcess(door, None, "--chdir", "site", cwd=tmp_path) as server:
        assert server.get("/").text == "found"
        server.wait_for_event("app.found", "wsgi:application, found in wsgi.py")


def test_absent_application_ends_the_start(door: str, tmp_path: Path) -> None:
    done = run_cli(door, cwd=tmp_path)
    assert done.returncode == 2, done
    assert done.stderr.startswith("error: no application given, and none found: "), done


def test_syntax_error_of_the_found_module_is_reported(door: str, tmp_path: Path) -> None:
    """Regression: the file counted as one without an application, and the message named none."""
    write(tmp_path, {"app.py": "from flask import Flask\napp = Flask(__name__\n"})
    done = run_cli(door, "--bind", "127.0.0.1:0", cwd=tmp_path)
    assert done.returncode == 3, done
    assert 'app.py", line 2' in done.stderr and "SyntaxError: " in done.stderr, done


@pytest.mark.parametrize(
    "files",
    [
        {"src/shop/__init__.py": "", "src/shop/wsgi.py": APP},
        {"backend/app.py": APP},
        {"manage.py": MANAGE, "src/shop/settings.py": "", "src/shop/wsgi.py": APP},
        {"shop/__init__.py": "", "shop/wsgi.py": APP},
        {"flaskr/__init__.py": f"def create_app(): return application\n{APP}"},
    ],
)
def test_command_of_the_message_serves_the_application(
    door: str, tmp_path: Path, files: dict[str, str]
) -> None:
    write(tmp_path, files)
    done = run_cli(door, cwd=tmp_path)
    assert done.returncode == 2, done
    program, *arguments = shlex.split(done.stderr.splitlines()[0].rpartition("write ")[2])
    assert program == "rustwsgi"
    with ServerProcess(door, None, *arguments, cwd=tmp_path) as server:
        assert server.get("/").text == "found"


def test_named_application_is_not_searched_for(door: str, tmp_path: Path) -> None:
    write(tmp_path, {"app.py": "raise SystemExit(9)", "hello.py": APP})
    write(tmp_path, {"pyproject.toml": '[tool.rustwsgi]\napp = "hello:application"\n'})
    with ServerProcess(door, None, cwd=tmp_path) as server:
        assert server.get("/").text == "found"
        assert "app.found" not in server.stderr()
