"""Compares the live servers that tests run: those of Django and Flask, and rustwsgi in their place
(the setting `rustwsgi_live_server`).

    python benches/live_servers.py
    python benches/live_servers.py --suites django-selenium --rounds 5

Each suite is a project with real tests. A round runs it with both servers, in turn, and the next
round begins with the other one. The table has medians, and the median of the ratios within a
round. "Tests" is the time that tests took to fetch their pages; "whole" is that of the process,
with the start of Python and of the framework, and with what the framework does between tests.
Suites with a browser need Chromium, and its driver or the package `playwright`. They are left out
without.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
#: A suite that takes longer has failed.
TIMEOUT = 180.0
#: Resources of a page; a browser fetches them over six connections.
RESOURCES = 30
CONNECTIONS = 6

SCRIPT = "// " + "x" * 10_000 + "\n"
PAGE = "<!doctype html><title>Page</title>" + "".join(
    f'<script src="PREFIX{number}.js?VERSION" defer></script>' for number in range(RESOURCES)
)

#: Adds up the time of tests without that of their fixtures.
CONFTEST = """
import json, sys
import pytest
sys.path[:0] = [{tests!r}]
taken = [0.0]
def pytest_runtest_logreport(report):
    if report.when == "call":
        taken[0] += report.duration
def pytest_unconfigure(config):
    with open("taken.json", "w") as file:
        json.dump(taken[0], file)
@pytest.fixture(scope="session")
def selenium(tmp_path_factory):
    from browser.chrome import chromium
    with chromium(tmp_path_factory.mktemp("profile")) as running:
        yield running.driver.get, running.script
@pytest.fixture(scope="session")
def playwright():
    from playwright.sync_api import sync_playwright
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path={chromium!r}, args=["--no-sandbox"])
        page = browser.new_page()
        yield page.goto, lambda script: page.evaluate(script.removeprefix("return "))
        browser.close()
"""

#: Fetches a page as a browser does: its resources over several connections that stay open.
FETCH = """
import re
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from urllib.parse import urlsplit
def fetch(url):
    address, path = urlsplit(url).netloc, urlsplit(url).path
    def get(connection, target):
        connection.request("GET", target)
        response = connection.getresponse()
        body = response.read()
        assert response.status == 200, (target, response.status)
        return body
    connections = [HTTPConnection(address) for _ in range({connections})]
    targets = re.findall(r'src="([^"]+)"', get(connections[0], path).decode())
    assert len(targets) == {resources}
    shares = [targets[at::{connections}] for at in range({connections})]
    def run(share):
        connection, mine = share
        for target in mine:
            assert len(get(connection, target)) > 10_000
        connection.close()
    with ThreadPoolExecutor({connections}) as pool:
        list(pool.map(run, zip(connections, shares)))
"""
OPEN = """
def open_page(browser, url):
    goto, evaluate = browser
    goto(url)
    script = "return performance.getEntriesByType('resource').filter(r => r.responseStatus == 200)"
    assert evaluate(script + ".length") == {resources}
"""

DJANGO_SETTINGS = """
SECRET_KEY = "x"
INSTALLED_APPS = [f"django.contrib.{name}" for name in ("auth", "contenttypes", "staticfiles")]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "x.sqlite3"}}
ROOT_URLCONF = "urls"
STATIC_URL = "/static/"
STATICFILES_DIRS = ["static"]
"""
DJANGO_URLS = """
from django.contrib.auth.models import User
from django.http import HttpResponse
from django.urls import path
PAGE = open("page.html").read()
def page(request, version):
    User.objects.count()
    return HttpResponse(PAGE.replace("PREFIX", "/static/").replace("VERSION", str(version)))
urlpatterns = [path("page/<int:version>", page)]
"""
FLASK_APP = """
import pytest
from flask import Flask
PAGE = open("page.html").read()
@pytest.fixture(scope="session")
def app():
    app = Flask(__name__, root_path=".")
    @app.get("/page/<int:version>")
    def page(version):
        return PAGE.replace("PREFIX", "/static/").replace("VERSION", str(version))
    return app
"""
HTTP_TEST = """
@pytest.mark.parametrize("version", range({tests}))
def test_page(live_server, version):
    fetch(f"{{URL}}/page/{{version}}")
"""
BROWSER_TEST = """
@pytest.mark.parametrize("version", range({tests}))
def test_page(live_server, {browser}, version):
    open_page({browser}, f"{{URL}}/page/{{version}}")
"""


class Suite(NamedTuple):
    """A project with tests."""

    title: str
    is_django: bool
    tests: int
    #: What drives a browser, a fixture of the suite; else an HTTP client fetches the pages.
    browser: str = ""
    #: Further settings of pytest.
    settings: str = ""


SUITES = {
    "django-http": Suite("Django, six connections", True, 40),
    "django-selenium": Suite("Django, Selenium", True, 20, "selenium"),
    "django-playwright": Suite("Django, Playwright", True, 20, "playwright"),
    "flask-http": Suite("Flask, six connections", False, 40),
    "flask-servers": Suite(
        "Flask, a server for each test", False, 40, settings="live_server_scope = function\n"
    ),
    "flask-selenium": Suite("Flask, Selenium", False, 20, "selenium"),
    "flask-playwright": Suite("Flask, Playwright", False, 20, "playwright"),
}


class Taken(NamedTuple):
    """Seconds of a run."""

    tests: float
    whole: float


def write_project(suite: Suite, directory: Path) -> None:
    """Write the files of a suite."""
    body = OPEN if suite.browser else FETCH
    body = body.format(connections=CONNECTIONS, resources=RESOURCES)
    test = BROWSER_TEST if suite.browser else HTTP_TEST
    url = "{live_server.url}" if suite.is_django else "{live_server.url()}"
    test = test.format(tests=suite.tests, browser=suite.browser).replace("{URL}", url)
    files = {
        "conftest.py": CONFTEST.format(
            tests=str(ROOT / "tests"), chromium=shutil.which("chromium")
        ),
        "page.html": PAGE,
        "pytest.ini": f"[pytest]\npythonpath = .\n{suite.settings}",
        "test_it.py": f"import pytest\n{body}{test}",
    }
    if suite.is_django:
        files["pytest.ini"] += "DJANGO_SETTINGS_MODULE = settings\n"
        files |= {"settings.py": DJANGO_SETTINGS, "urls.py": DJANGO_URLS}
    else:
        files["test_it.py"] = f"{FLASK_APP}{files['test_it.py']}"
    files |= {f"static/{number}.js": SCRIPT for number in range(RESOURCES)}
    for name, text in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def run(suite: Suite, directory: Path, *, ours: bool) -> Taken:
    """Run a suite. All of its tests must pass."""
    other = "flask" if suite.is_django else "django"
    command = [sys.executable, "-m", "pytest", "-q", "-p", f"no:{other}", "-p", "no:cacheprovider"]
    # Else the server of pytest-flask has 5 s to start.
    command.append("--nomigrations" if suite.is_django else "--live-server-wait=60")
    # Not those of an agent that happens to be installed.
    command += ["-p", "no:ddtrace", "-o", f"rustwsgi_live_server={str(ours).lower()}"]
    start = time.perf_counter()
    done = subprocess.run(
        command,
        cwd=directory,
        env={
            **os.environ,
            "PYTHONDONTWRITEBYTECODE": "1",
            # The loop of Playwright runs on the main thread, where the tests use the database.
            "DJANGO_ALLOW_ASYNC_UNSAFE": "true",
        },
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    whole = time.perf_counter() - start
    if done.returncode or not re.search(rf"(?m)^{suite.tests} passed", done.stdout):
        raise SystemExit(f"{command} failed:\n{done.stdout[-4000:]}{done.stderr[-2000:]}")
    return Taken(json.loads((directory / "taken.json").read_text()), whole)


def compare(suite: Suite, rounds: int) -> tuple[list[Taken], list[Taken]]:
    """The runs of both servers: the framework's, and rustwsgi."""
    theirs: list[Taken] = []
    ours: list[Taken] = []
    with tempfile.TemporaryDirectory() as name:
        write_project(suite, Path(name))
        for number in range(rounds):
            order = [(False, theirs), (True, ours)]
            for is_ours, taken in order if number % 2 == 0 else reversed(order):
                taken.append(run(suite, Path(name), ours=is_ours))
    return theirs, ours


def row(suite: Suite, theirs: list[Taken], ours: list[Taken]) -> str:
    """A line of the table."""
    cells = [f"{suite.title}: {suite.tests} tests"]
    for field in ("tests", "whole"):
        pairs = [(getattr(a, field), getattr(b, field)) for a, b in zip(theirs, ours, strict=True)]
        before, after = (statistics.median(side) for side in zip(*pairs, strict=True))
        ratio = statistics.median(a / b for a, b in pairs)
        cells.append(f"{before:.1f} s, {after:.1f} s, {ratio:.1f} x")
    return f"| {' | '.join(cells)} |"


def can_run(suite: Suite) -> bool:
    """Whether the machine has what the suite needs."""
    if suite.browser == "playwright":
        return bool(shutil.which("chromium") and importlib.util.find_spec("playwright"))
    return not suite.browser or all(map(shutil.which, ("chromium", "chromedriver")))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--suites", default=",".join(SUITES), help=f"of {', '.join(SUITES)}")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each server [default: 3]")
    arguments = parser.parse_args()
    names = arguments.suites.split(",")
    if unknown := set(names) - set(SUITES):
        parser.error(f"no such suite: {', '.join(sorted(unknown))}")
    print("| Suite | tests: framework's server, rustwsgi | whole: framework's server, rustwsgi |")
    print("|---|---|---|")
    for name in names:
        if can_run(SUITES[name]):
            theirs, ours = compare(SUITES[name], max(arguments.rounds, 1))
            print(row(SUITES[name], theirs, ours), flush=True)
        else:
            print(
                f"{name} is left out: Chromium, or what drives it, is not installed",
                file=sys.stderr,
            )


if __name__ == "__main__":
    main()
