"""PasteDeploy: `pserve` with `use = egg:rustwsgi#main`, and `--paste`."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from harness import TIMEOUT, ServerProcess, run_cli, wait_until
from harness.projects import PYTHON, run, save, script, write
from harness.supervision import end

pytest.importorskip("pyramid")
pytest.importorskip("paste.deploy")

PSERVE = script("pserve")
SITE = """
import logging
from pyramid.config import Configurator
from pyramid.response import Response
def main(global_config, **settings):
    logging.getLogger("site").info("configured %s", settings["title"])
    with Configurator(settings=settings) as config:
        config.add_route("index", "/")
        text = " ".join([settings["title"], global_config.get("place", "nowhere")])
        config.add_view(lambda request: Response(text), route_name="index")
        return config.make_wsgi_app()
"""
INI = """
[app:main]
use = call:site_app:main
title = main

[app:admin]
use = call:site_app:main
title = admin %(place)s

[server:main]
use = egg:rustwsgi#main
bind = 127.0.0.1:0
    unix:%(here)s/s
threads = 3
access_log = true

[loggers]
keys = root, site
[handlers]
keys = file
[formatters]
keys =
[logger_root]
level = WARNING
handlers =
[logger_site]
level = INFO
handlers = file
qualname = site
[handler_file]
class = FileHandler
args = (r'%(here)s/site.log',)
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return write(tmp_path, {"site_app.py": SITE, "site.ini": INI})


def test_pserve_starts_the_server_with_the_options_of_its_section(start, project: Path) -> None:
    env = {"PYTHONPATH": str(project)}
    server = start(PSERVE, "site.ini", "place=here", cwd=project, env=env)
    assert server.get("/").text == "main here"
    server.wait_for_event("server.starting", "threads: 3")
    server.wait_for_event("server.listening", "unix:")
    server.wait_for_stdout(r'"GET / HTTP/1.1" 200')
    assert (project / "site.log").read_text() == "configured main\n"
    assert server.stop(signal.SIGINT) == 0


def test_unknown_option_of_the_section_fails_the_start(project: Path) -> None:
    write(project, {"site.ini": INI.replace("threads", "treads")})
    done = run(PSERVE, "site.ini", "place=", cwd=project, env={"PYTHONPATH": str(project)})
    assert done.returncode == 1, done
    assert "site.ini: unknown option 'treads'; did you mean 'threads'?" in done.stderr, done


def test_server_runner_serves_an_application(start, project: Path) -> None:
    source = """
from importlib.metadata import entry_points
def app(environ, start_response):
    start_response("200 OK", [])
    return [b"run"]
found = [one for one in entry_points(group="paste.server_runner") if "rustwsgi" in one.value]
if __name__ == "__main__":
    found[0].load()(app, {}, host="127.0.0.1", port="0")
"""
    write(project, {"program.py": source})
    assert start(PYTHON, "program.py", cwd=project).get("/").text == "run"


def test_options_of_the_command_are_not_for_the_application(start, project: Path) -> None:
    """Regression: under `--preload`, which this command implies, the application and its workers
    found them in their environment. A reload and a new master still read them."""
    source = """
import os
NAME = "RUSTWSGI_INTEGRATION"
from importlib.metadata import entry_points
def app(environ, start_response):
    start_response("200 OK", [])
    return [f"{found} {NAME in os.environ} {environ['wsgi.multithread']}".encode()]
def load():
    global found
    found = NAME in os.environ
    return app
if __name__ == "__main__":
    from rustwsgi import _launch
    settings = _launch.Settings("program", {"bind": "127.0.0.1:0", "threads": 2})
    _launch.serve_here(load, [], settings)
"""
    write(project, {"program.py": source})
    server = start(PYTHON, "program.py", cwd=project)
    expected = "False False True"
    assert server.get("/").text == expected
    server.wait_for_event("server.ready")
    server.send_signal(signal.SIGHUP)
    server.wait_for_event("reload.completed")
    assert server.get("/").text == expected


def test_options_of_a_command_reach_a_new_master(fresh_server) -> None:
    options = 'origin = "x"\n[settings]\nthreads = 3\n'
    env = {"RUSTWSGI_INTEGRATION": options}
    server = fresh_server("supervised:app", "--preload", env=env)
    server.wait_for_event("server.ready")
    start = len(server.stderr())
    server.send_signal(signal.SIGUSR2)
    server.wait_for_event("server.starting", "threads: 3", start=start)
    new = int(server.wait_for_event("upgrade.started", r"master (\d+)")[1])
    server.wait_for_event("server.ready", start=start)
    server.send_signal(signal.SIGTERM)
    server.process.wait(TIMEOUT)
    end(new, signal.SIGTERM)


def test_paste_option_loads_an_application_and_its_logging(door: str, project: Path) -> None:
    options = ["--paste", "site.ini#admin", "--paste-global", "place=it's", "--chdir", "/tmp"]
    options += ["--pythonpath", str(project)]
    with ServerProcess(door, None, *options, cwd=project) as server:
        assert server.get("/").text == "admin it's it's"
        assert (project / "site.log").read_text() == "configured admin it's\n"
        server.wait_for_event("server.ready")
        write(project, {"site.ini": INI.replace("title = admin", "title = changed")})
        server.send_signal(signal.SIGHUP)
        changed = "changed it's it's"
        wait_until(lambda: server.get("/").text == changed, "the new worker serves")


def test_file_is_watched(door: str, project: Path) -> None:
    options = ["--paste", "site.ini", "--reload", "--paste-global", "place=x"]
    with ServerProcess(door, None, *options, cwd=project) as server:
        server.wait_for_event("server.ready")
        save(project / "site.ini", INI.replace("title = main", "title = changed"))
        server.wait_for_event("reload.completed")
        assert server.get("/").text == "changed x"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--paste", "missing.ini"], 2, 'there is no file "missing.ini"'),
        (["--paste", "site.ini", "site_app:app"], 2, "remove APP or --paste"),
        (["--paste", "site.ini#nothing", "--paste-global", "place=x"], 3, "nothing"),
    ],
)
def test_paste_file_that_cannot_be_used_is_an_error(
    project: Path, arguments: list[str], code: int, said: str
) -> None:
    done = run_cli("wheel", *arguments, cwd=project)
    assert (done.returncode, said in done.stderr) == (code, True), done
