"""`manage.py rustwsgi` and the system checks of `rustwsgi.django`, in a real project."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness import TIMEOUT, ServerProcess, child_environment, wait_until
from harness.projects import PYTHON, run, save, write

pytest.importorskip("django")

MANAGE = """
import os, sys
from django.core.management import execute_from_command_line
if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
    sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "libraries"))
    execute_from_command_line(sys.argv)
"""
SETTINGS = """
import json, os
SECRET_KEY = "x" * 50
DEBUG = False
ALLOWED_HOSTS = ["*"]
INSTALLED_APPS = ["django.contrib.staticfiles", "rustwsgi.django", "shop"]
MIDDLEWARE = []
ROOT_URLCONF = "shop.urls"
WSGI_APPLICATION = "shop.wsgi.application"
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
STATIC_URL = "/static/"
USE_TZ = True
globals().update(json.loads(os.environ.get("SHOP", "{}")))
"""
WSGI = """
import os
from django.core.wsgi import get_wsgi_application
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
application = get_wsgi_application()
"""
URLS = """
import os
from django.http import HttpResponse
from django.urls import path
from django.conf import settings
import helpers

def index(request):
    return HttpResponse(f"{helpers.NAME} {request.META['wsgi.multithread']} {settings.SETTINGS_MODULE}")

urlpatterns = [path("", index)]
"""
PROJECT = {
    "manage.py": MANAGE,
    "shop/__init__.py": "",
    "shop/settings.py": SETTINGS,
    "shop/other.py": "from .settings import *\nWSGI_APPLICATION = None\n",
    "shop/wsgi.py": WSGI,
    "shop/urls.py": URLS,
    "shop/static/shop/style.css": "body {}\n",
    "libraries/helpers.py": 'NAME = "shop"\n',
}
RUSTWSGI = [PYTHON, "manage.py", "rustwsgi"]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return write(tmp_path, PROJECT)


def settings(**values: object) -> dict[str, str]:
    return {"SHOP": json.dumps(values)}


def check(project: Path, *arguments: str, **values: object) -> str:
    done = run(PYTHON, "manage.py", "check", *arguments, cwd=project, env=settings(**values))
    return done.stdout + done.stderr


def test_project_is_served_with_the_options_of_the_server(start, project: Path) -> None:
    server = start(*RUSTWSGI, "--bind", "127.0.0.1:0", "--threads", "1", "-w", "2", cwd=project)
    # The directory that manage.py has added to the path is that of the workers, too.
    assert server.get("/").text == "shop False shop.settings"
    server.wait_for_event("server.starting", "workers: 2")
    server.wait_for_stdout("System check identified no issues")
    server.wait_for_stdout("'shop.settings'")
    assert "reload" not in server.stderr()
    assert server.stop(signal.SIGINT) == 0


def test_settings_are_options_below_the_environment(start, project: Path) -> None:
    own = {"bind": ["127.0.0.1:0"], "threads": 1, "access_logfile": "-", "preload": False}
    (project / "rustwsgi.toml").write_text("threads = 3\nworkers = 2\n")
    env = {**settings(RUSTWSGI=own), "RUSTWSGI_WORKERS": "1"}
    server = start(*RUSTWSGI, cwd=project, env=env)
    server.wait_for_event("server.starting", r"workers: 1, threads: 1\)")
    server.get("/")
    server.wait_for_stdout(r'"GET / HTTP/1.1" 200')
    server.wait_for_event("config.files", "the setting RUSTWSGI, rustwsgi.toml")


def test_octal_number_of_the_settings_is_a_mode(start, project: Path) -> None:
    """Regression: 0o640 is 416, which is octal digits, too."""
    path = project / "control"
    own = {"bind": "127.0.0.1:0", "control_socket": str(path), "control_socket_mode": 0o640}
    server = start(*RUSTWSGI, cwd=project, env=settings(RUSTWSGI=own))
    server.wait_for_event("control.listening")
    assert path.stat().st_mode & 0o777 == 0o640


def test_debug_reloads_and_serves_static_sources(start, project: Path) -> None:
    server = start(*RUSTWSGI, "0", cwd=project, env=settings(DEBUG=True))
    assert server.host == "127.0.0.1"
    assert server.get("/").text == "shop True shop.settings"
    assert server.get("/static/shop/style.css").text == "body {}\n"
    server.wait_for_event("server.ready")
    save(project / "libraries/helpers.py", 'NAME = "changed"\n')
    server.wait_for_event("reload.completed")
    assert server.get("/").text.startswith("changed")


def test_collected_static_files_are_served_without_debug(start, project: Path) -> None:
    write(project, {"collected/a.css": "a {}\n"})
    env = settings(STATIC_ROOT=str(project / "collected"))
    server = start(*RUSTWSGI, "0", cwd=project, env=env)
    assert server.get("/static/a.css").text == "a {}\n"
    assert server.get("/static/missing.css").status == 404


def test_settings_and_other_options_of_django_are_accepted(start, project: Path) -> None:
    """The settings of --settings name no WSGI application: Django's own is served."""
    options = ["--settings", "shop.other", "--skip-checks", "--bind", "127.0.0.1:0"]
    server = start(*RUSTWSGI, *options, cwd=project)
    assert server.get("/").text == "shop True shop.other"
    assert "system checks" not in server.stdout()


def test_reload_by_signal_loads_new_code(start, project: Path) -> None:
    server = start(*RUSTWSGI, "0", cwd=project, env=settings(RUSTWSGI={"threads": 1}))
    server.wait_for_event("server.ready")
    (project / "libraries/helpers.py").write_text('NAME = "new"\n')
    server.send_signal(signal.SIGHUP)
    text = "new False shop.settings"
    wait_until(lambda: server.get("/").text == text, "the new worker serves")


def test_settings_without_a_module_are_served_from_this_process(start, tmp_path: Path) -> None:
    source = """
import sys
from django.conf import settings
from django.core.management import execute_from_command_line
from django.http import HttpResponse
from django.urls import path
urlpatterns = [path("", lambda request: HttpResponse("configured"))]
settings.configure(ROOT_URLCONF=__name__, DEBUG=True, SECRET_KEY="x",
                   INSTALLED_APPS=["rustwsgi.django"], RUSTWSGI={"threads": 2})
execute_from_command_line(sys.argv)
"""
    write(tmp_path, {"site.d/one.py": source})
    server = start(PYTHON, "one.py", "rustwsgi", "0", cwd=tmp_path / "site.d")
    assert server.get("/").text == "configured"
    server.wait_for_event("server.starting", "threads: 2")


@pytest.mark.parametrize(
    ("arguments", "values", "code", "said"),
    [
        (["--treads", "2"], {}, 2, "a similar option exists: '--threads'"),
        ([], {"RUSTWSGI": {"treads": 2}}, 1, "did you mean 'threads'?"),
        (
            ["--skip-checks"],
            {"RUSTWSGI": {"treads": 2}},
            2,
            "the setting RUSTWSGI: unknown option",
        ),
        (["--skip-checks"], {"RUSTWSGI": {"threads": "x"}}, 2, "the setting RUSTWSGI: 'threads'"),
        ([], {"ALLOWED_HOSTS": []}, 1, "You must set settings.ALLOWED_HOSTS"),
        ([], {"WSGI_APPLICATION": "shop.wsgi.nothing"}, 1, "rustwsgi.E001"),
        (["--skip-checks"], {"WSGI_APPLICATION": "shop.no.app"}, 3, 'has no module "no"'),
        (["--bind", "127.0.0.1:99999"], {}, 2, "'99999' is not a port"),
    ],
)
def test_failed_start_has_a_message_and_a_status(
    project: Path, arguments: list[str], values: dict[str, object], code: int, said: str
) -> None:
    done = run(*RUSTWSGI, *arguments, cwd=project, env=settings(**values))
    assert (done.returncode, said in done.stderr) == (code, True), done


def test_help_and_version_are_those_of_the_server(project: Path) -> None:
    done = run(*RUSTWSGI, "--help", cwd=project)
    assert done.returncode == 0 and "--settings" in done.stdout, done
    assert "--limit-request-line" in done.stdout, done
    done = run(*RUSTWSGI, "--version", cwd=project)
    assert re.fullmatch(r"rustwsgi [\d.]+\n", done.stdout), done
    assert "rustwsgi" in run(PYTHON, "manage.py", "help", cwd=project).stdout


def test_unapplied_migrations_are_reported(start, project: Path) -> None:
    apps = ["django.contrib.contenttypes", "rustwsgi.django"]
    server = start(*RUSTWSGI, "0", cwd=project, env=settings(INSTALLED_APPS=apps))
    server.wait_for_stdout(r"unapplied migration\(s\)")


def test_checks_find_nothing_in_a_good_project(project: Path) -> None:
    assert "no issues" in check(project, "-t", "rustwsgi", "--deploy")


DATABASE = {"default": {"ENGINE": "django.db.backends.postgresql", "CONN_MAX_AGE": 60}}
CACHE = {"SESSION_ENGINE": "django.contrib.sessions.backends.cache"}
SCHEME = {"SECURE_PROXY_SSL_HEADER": ["HTTP_X_FORWARDED_PROTO", "https"]}
STRIP = {"RUSTWSGI": {"forwarded_untrusted": "strip"}}


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ({"WSGI_APPLICATION": "shop.nothing.application"}, "E001"),
        ({"WSGI_APPLICATION": "application"}, "E001"),
        ({"WSGI_APPLICATION": None}, None),
        ({"RUSTWSGI": ["workers"]}, "E002"),
        ({"RUSTWSGI": {"config": "x.toml"}}, "E002"),
        ({"RUSTWSGI": {"keep_alive": 5, "limit-request-line": 8190}}, None),
        (SCHEME, "W001"),
        ({"USE_X_FORWARDED_HOST": True}, "W001"),
        ({**SCHEME, **STRIP}, None),
        ({"SECURE_PROXY_SSL_HEADER": ["HTTP_X_SECRET", "https"]}, None),
        ({**CACHE, "RUSTWSGI": {"workers": 2}}, "W002"),
        (CACHE, None),
        ({**CACHE, "RUSTWSGI": {"workers": [2]}}, None),
        ({"DATABASES": DATABASE, "RUSTWSGI": {"workers": 8, "threads": 16}}, "W003"),
        ({"DATABASES": DATABASE}, None),
    ],
)
def test_checks(
    values: dict[str, object], found: str | None, checked: Callable[[dict[str, object]], str]
) -> None:
    said = checked(values)
    assert re.findall(r"rustwsgi\.(\w\d+)", said) == ([found] if found else []), said


def test_check_counts_in_singular_and_plural(checked: Callable[[dict[str, object]], str]) -> None:
    said = checked({"DATABASES": DATABASE, "RUSTWSGI": {"workers": 1, "threads": 128}})
    assert "up to 128 (1 worker, 128 threads each)." in said


@pytest.fixture(scope="module")
def checked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., str]]:
    """Runs the checks of a project with other settings. One process for all cases: each start of
    Django takes half a second."""
    source = """
import json, sys
import django
from django.core import checks
from django.test.utils import override_settings
django.setup()
for line in sys.stdin:
    with override_settings(**json.loads(line)):
        found = checks.run_checks(tags=["rustwsgi"], include_deployment_checks=True)
    print(json.dumps([str(message) for message in found]), flush=True)
"""
    process = subprocess.Popen(
        [PYTHON, "-c", source],
        cwd=write(tmp_path_factory.mktemp("checks"), PROJECT),
        env={**child_environment(), "DJANGO_SETTINGS_MODULE": "shop.settings"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None and process.stdout is not None
    requests, replies = process.stdin, process.stdout

    def checked(values: dict[str, object]) -> str:
        requests.write(json.dumps(values) + "\n")
        requests.flush()
        return "\n".join(json.loads(replies.readline()))

    yield checked
    requests.close()
    assert process.wait(TIMEOUT) == 0
    replies.close()


def test_application_of_the_settings_runs_without_the_command(door: str, project: Path) -> None:
    """INSTALLED_APPS has rustwsgi.django through every door, also without manage.py."""
    with ServerProcess(door, "shop.wsgi", "--pythonpath", "libraries", cwd=project) as server:
        assert server.get("/").text == "shop True shop.settings"
