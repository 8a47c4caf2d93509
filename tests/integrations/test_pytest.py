"""The pytest plugin, in test suites of its own that real frameworks run in."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from harness import ROOT
from harness.ports import free_port
from harness.projects import PYTHON, run, write

#: Both plugins have fixtures of the same names.
DJANGO, FLASK = ["-p", "no:flask"], ["-p", "no:django"]
PLAIN = [*DJANGO, *FLASK]
#: The plugin of an agent takes a second to start.
AGENT = ["-p", "no:ddtrace"]


def flask_options() -> list[str]:
    """pytest-flask gives its server 5 s to start, and would choose a port that the kernel may give
    to another process before the server binds it."""
    return [*FLASK, "--live-server-wait=60", f"--live-server-port={free_port()}"]


def run_suite(
    directory: Path, files: dict[str, str], *options: str, passed: int, **env: str
) -> str:
    """Run a test suite; all of its tests must pass. Returns what pytest prints."""
    write(directory, {"pytest.ini": "[pytest]\n", **files})
    done = run(PYTHON, "-m", "pytest", "-q", *AGENT, *options, cwd=directory, env=env)
    assert re.search(rf"(?m)^{passed} passed", done.stdout) and done.returncode == 0, done.stdout
    return done.stdout


SUITE = """
import errno, socket, sys, urllib.error, urllib.request
import pytest

TEXT = b"own"
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [TEXT, str(environ["wsgi.multithread"]).encode()]

def broken(environ, start_response):
    raise ValueError("of the application")

def get(url):
    with urllib.request.urlopen(url) as response:
        return response.read()

def test_application_runs_in_this_process(rustwsgi_server, monkeypatch):
    with rustwsgi_server(app) as server:
        assert server.url.startswith("http://127.0.0.1:") and get(server.url) == b"ownTrue"
        monkeypatch.setattr(sys.modules[__name__], "TEXT", b"patched")
        assert get(server.url) == b"patchedTrue"

def test_options_are_those_of_the_server(rustwsgi_server, tmp_path):
    with rustwsgi_server(app, threads=1, access_logfile=str(tmp_path / "log")) as server:
        assert get(server.url) == b"ownFalse"
    assert "GET / HTTP/1.1" in (tmp_path / "log").read_text()
    with rustwsgi_server(app, host="localhost", port=0) as server:
        assert get(server.url) == b"ownTrue"

def test_two_servers_at_once(rustwsgi_server):
    with rustwsgi_server(app) as one, rustwsgi_server(app) as other:
        assert one.url != other.url and get(one.url) == get(other.url)

def test_errors_of_the_start_are_raised(rustwsgi_server):
    with pytest.raises(ValueError, match="did you mean 'threads'"):
        rustwsgi_server(app, treads=1)
    with pytest.raises(TypeError, match="callable"):
        rustwsgi_server("module:app")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        with pytest.raises(OSError) as raised:
            rustwsgi_server(app, bind=f"127.0.0.1:{taken.getsockname()[1]}").start()
        assert raised.value.errno == errno.EADDRINUSE

URLS = []
def test_server_without_with(rustwsgi_server):
    URLS.append(rustwsgi_server(app).start().url)
    assert get(URLS[0]) == b"ownTrue"

def test_it_has_stopped_with_its_test():
    with pytest.raises(OSError):
        get(URLS[0])

def test_exception_of_the_application_is_captured(rustwsgi_server, capfd):
    with rustwsgi_server(broken) as server, pytest.raises(urllib.error.HTTPError):
        get(server.url)
    assert "ValueError: of the application" in capfd.readouterr().err

def test_frameworks_are_not_imported():
    assert not {"django", "flask", "rustwsgi._live_servers"} & set(sys.modules)
"""


def test_fixture(tmp_path: Path) -> None:
    run_suite(tmp_path, {"test_it.py": SUITE}, *PLAIN, passed=8)


MODELS = """
from django.contrib.auth.models import User
from django.http import HttpResponse
from django.urls import path
def names(request):
    User.objects.filter(username="count").update(first_name="seen")
    found = " ".join(User.objects.order_by("username").values_list("username", flat=True))
    # Only this server has the key.
    return HttpResponse(f"{'rustwsgi.client_disconnected' in request.META}: {found}")
urlpatterns = [path("names", names)]
"""
SETTINGS = """
import os
SECRET_KEY = "x"
INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.staticfiles"]
DATABASES = {"default": {
    "ENGINE": "django.db.backends.sqlite3", "NAME": "x.sqlite3",
    "TEST": {"NAME": os.environ.get("TEST_DATABASE")}, "OPTIONS": {"timeout": 20}}}
ROOT_URLCONF = "urls"
STATIC_URL = "static/"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
"""
DJANGO_SUITE = """
import urllib.request
import pytest
from django.contrib.auth.models import User
from django.contrib.staticfiles.testing import StaticLiveServerTestCase
from django.core.wsgi import get_wsgi_application

def get(url):
    with urllib.request.urlopen(url) as response:
        return response.read().decode()

def test_live_server(live_server):
    User.objects.create(username="live")
    assert get(live_server.url + "/names") == "True: live"

def test_transaction_of_the_test_is_seen_and_rolled_back(db, rustwsgi_server):
    User.objects.create(username="count")
    with rustwsgi_server(get_wsgi_application()) as server:
        assert get(server.url + "/names") == "True: count"
    assert User.objects.get(username="count").first_name == "seen"

def test_nothing_is_left_of_it(transactional_db, rustwsgi_server):
    with rustwsgi_server(get_wsgi_application()) as server:
        assert get(server.url + "/names") == "True: "
        User.objects.create(username="committed")
        assert get(server.url + "/names") == "True: committed"

class TestCase(StaticLiveServerTestCase):
    def test_live_server_of_django(self):
        User.objects.create(username="case")
        assert get(self.live_server_url + "/names") == "True: case"
"""


@pytest.mark.parametrize("database", ["", "file.sqlite3"], ids=["memory", "file"])
def test_live_servers_of_django(tmp_path: Path, database: str) -> None:
    pytest.importorskip("pytest_django")
    files = {
        "pytest.ini": "[pytest]\nDJANGO_SETTINGS_MODULE = settings\nrustwsgi_live_server = true\npythonpath = .\n",
        "settings.py": SETTINGS,
        "urls.py": MODELS,
        "test_it.py": DJANGO_SUITE,
    }
    options = [*DJANGO, "--nomigrations"]
    run_suite(tmp_path, files, *options, passed=4, TEST_DATABASE=database)


FLASK_SUITE = """
import urllib.request
import flask
import pytest
from flask import Flask, request, url_for

GREETING = "hello"
@pytest.fixture(scope="session")
def app():
    app = Flask(__name__)
    @app.get("/")
    def index():
        return f"{'rustwsgi.client_disconnected' in request.environ}: {GREETING}"
    return app

def test_live_server(live_server, monkeypatch):
    monkeypatch.setitem(globals(), "GREETING", "patched")
    with urllib.request.urlopen(live_server.url(url_for("index"))) as response:
        assert response.read() == b"True: patched"
"""


def test_live_server_of_pytest_flask(tmp_path: Path) -> None:
    pytest.importorskip("pytest_flask")
    ini = "[pytest]\nrustwsgi_live_server = true\n"
    run_suite(tmp_path, {"pytest.ini": ini, "test_it.py": FLASK_SUITE}, *flask_options(), passed=1)


#: How the framework's server differs from one in production, which the setting brings into the tests.
DJANGO_DIFFERENCES = """
import http.client, os
from urllib.parse import urlsplit
OURS = os.environ["TEST_SERVER"] == "rustwsgi"

def connect(live_server):
    return http.client.HTTPConnection(urlsplit(live_server.url).netloc, timeout=20)

def test_streamed_response_keeps_its_connection(live_server):
    connection = connect(live_server)
    connection.request("GET", "/streamed")
    response = connection.getresponse()
    assert response.read() == b"ab"
    assert (response.getheader("Transfer-Encoding") == "chunked") == OURS
    assert (response.getheader("Connection") != "close") == OURS

def test_chunked_request_reaches_the_application(live_server):
    connection = connect(live_server)
    connection.putrequest("POST", "/size")
    connection.putheader("Transfer-Encoding", "chunked")
    # In one piece: the framework's server closes the connection early.
    connection.endheaders(b"3\\r\\nabc\\r\\n2\\r\\nde\\r\\n0\\r\\n\\r\\n")
    assert connection.getresponse().read() == (b"5" if OURS else b"0")

def test_scheme_of_a_proxy_is_applied(live_server):
    connection = connect(live_server)
    connection.request("GET", "/scheme", headers={"X-Forwarded-Proto": "https"})
    assert connection.getresponse().read() == (b"https" if OURS else b"http")

def test_ambiguous_request_is_refused(live_server):
    connection = connect(live_server)
    connection.putrequest("POST", "/size")
    connection.putheader("Content-Length", "3")
    connection.putheader("Content-Length", "5")
    connection.endheaders(b"abcde")
    assert (connection.getresponse().status == 400) == OURS
"""
DJANGO_VIEWS = """
from django.http import HttpResponse, StreamingHttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt
def streamed(request):
    return StreamingHttpResponse([b"a", b"b"])
@csrf_exempt
def size(request):
    return HttpResponse(len(request.META["wsgi.input"].read()))
def scheme(request):
    return HttpResponse(request.scheme)
urlpatterns = [path("streamed", streamed), path("size", size), path("scheme", scheme)]
"""
FLASK_DIFFERENCES = """
import http.client, os
import pytest
from flask import Flask
OURS = os.environ["TEST_SERVER"] == "rustwsgi"
GREETING = "hello"

@pytest.fixture(scope="session")
def app():
    app = Flask(__name__)
    @app.get("/")
    def index():
        return GREETING
    return app

def test_connection_stays_open(live_server):
    connection = http.client.HTTPConnection(live_server.host, live_server.port, timeout=20)
    connection.request("GET", "/")
    response = connection.getresponse()
    assert response.read() == b"hello"
    assert (response.getheader("Connection") != "close") == OURS

def test_patch_of_the_test_is_seen(live_server, monkeypatch):
    monkeypatch.setitem(globals(), "GREETING", "patched")
    connection = http.client.HTTPConnection(live_server.host, live_server.port, timeout=20)
    connection.request("GET", "/")
    assert connection.getresponse().read() == (b"patched" if OURS else b"hello")
"""


@pytest.mark.parametrize("server", ["rustwsgi", "development"])
def test_live_server_of_django_is_that_of_production(tmp_path: Path, server: str) -> None:
    pytest.importorskip("pytest_django")
    setting = f"rustwsgi_live_server = {str(server == 'rustwsgi').lower()}\n"
    files = {
        "pytest.ini": f"[pytest]\nDJANGO_SETTINGS_MODULE = settings\n{setting}pythonpath = .\n",
        "settings.py": SETTINGS,
        "urls.py": DJANGO_VIEWS,
        "test_it.py": DJANGO_DIFFERENCES,
    }
    run_suite(tmp_path, files, *DJANGO, "--nomigrations", passed=4, TEST_SERVER=server)


@pytest.mark.parametrize("server", ["rustwsgi", "development"])
def test_live_server_of_flask_is_that_of_production(tmp_path: Path, server: str) -> None:
    pytest.importorskip("pytest_flask")
    ini = f"[pytest]\nrustwsgi_live_server = {str(server == 'rustwsgi').lower()}\n"
    files = {"pytest.ini": ini, "test_it.py": FLASK_DIFFERENCES}
    run_suite(tmp_path, files, *flask_options(), passed=2, TEST_SERVER=server)


@pytest.mark.parametrize("framework", ["django", "flask"])
def test_suite_of_the_benchmark_passes_with_both_servers(
    monkeypatch: pytest.MonkeyPatch, framework: str
) -> None:
    pytest.importorskip(f"pytest_{framework}")
    monkeypatch.syspath_prepend(str(ROOT / "benches"))
    import live_servers

    suite = live_servers.SUITES[f"{framework}-http"]._replace(tests=2)
    theirs, ours = live_servers.compare(suite, rounds=1)
    assert live_servers.row(suite, theirs, ours).startswith(f"| {suite.title}: 2 tests | ")


def test_frameworks_servers_stay_without_the_setting(tmp_path: Path) -> None:
    pytest.importorskip("pytest_django")
    files = {
        "pytest.ini": "[pytest]\nDJANGO_SETTINGS_MODULE = settings\npythonpath = .\n",
        "settings.py": SETTINGS,
        "urls.py": MODELS,
        "test_it.py": DJANGO_SUITE.replace("True: live", "False: live"),
    }
    run_suite(
        tmp_path, files, *DJANGO, "--nomigrations", "-k", "test_live_server and not Case", passed=1
    )
