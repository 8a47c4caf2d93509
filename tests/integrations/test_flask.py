"""`flask rustwsgi`: the command of the entry point, with the applications that flask finds."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from harness.projects import PYTHON, run, save, script, write

pytest.importorskip("flask")

FLASK = script("flask")
APP = """
from flask import Flask, current_app
def create_app(name="default"):
    app = Flask(__name__)
    @app.get("/")
    def index():
        return f"{name} {current_app.debug}"
    return app
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return write(
        tmp_path,
        {"x.py": APP, "pkg/__init__.py": APP, "app.py": f"{APP}\napp = create_app('app')\n"},
    )


@pytest.mark.parametrize(
    ("arguments", "env", "text"),
    [
        (["--app", "x:create_app('dev')"], {}, "dev False"),
        (["--app", "x.py"], {}, "default False"),
        ([], {}, "app False"),
        ([], {"FLASK_APP": "pkg:create_app(name='p')"}, "p False"),
    ],
)
def test_application_is_found_as_by_flask(
    start, project: Path, arguments: list[str], env: dict[str, str], text: str
) -> None:
    options = ["--bind", "127.0.0.1:0", "--threads", "2"]
    server = start(FLASK, *arguments, "rustwsgi", *options, cwd=project, env=env)
    assert server.get("/").text == text
    server.wait_for_event("server.starting", "threads: 2")
    assert "reload" not in server.stderr()
    assert server.stop(signal.SIGINT) == 0


def test_debug_reloads(start, project: Path) -> None:
    env = {"FLASK_RUN_PORT": "0", "FLASK_RUN_HOST": "localhost"}
    server = start(FLASK, "--app", "x", "--debug", "rustwsgi", cwd=project, env=env)
    assert server.get("/").text == "default True"
    server.wait_for_event("server.ready")
    save(project / "x.py", APP.replace('"default"', '"changed"'))
    server.wait_for_event("reload.completed")
    assert server.get("/").text == "changed True"


def test_group_of_a_program_is_served_from_its_process(start, project: Path) -> None:
    source = """
from flask.cli import FlaskGroup
from x import create_app
if __name__ == "__main__":
    FlaskGroup(create_app=lambda: create_app("group"))()
"""
    write(project, {"manage.py": source})
    server = start(PYTHON, "manage.py", "rustwsgi", "-b", "127.0.0.1:0", cwd=project)
    assert server.get("/").text == "group False"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--app", "x", "rustwsgi", "--treads", "2"], 2, "'--threads'"),
        (["--app", "nothing", "rustwsgi"], 3, "Could not import 'nothing'"),
        (["--app", "x:missing", "rustwsgi"], 3, "Failed to find attribute 'missing'"),
        (["--app", "x", "rustwsgi", "other:app"], 2, "one application"),
    ],
)
def test_failed_start_has_a_message_and_a_status(
    project: Path, arguments: list[str], code: int, said: str
) -> None:
    done = run(FLASK, *arguments, cwd=project)
    assert (done.returncode, said in done.stderr) == (code, True), done


def test_help_is_that_of_the_server(project: Path) -> None:
    done = run(FLASK, "rustwsgi", "--help", cwd=project)
    assert done.returncode == 0 and "--limit-request-line" in done.stdout, done
    done = run(FLASK, "--help", cwd=project)
    assert "rustwsgi" in done.stdout and "Error" not in done.stderr, done
