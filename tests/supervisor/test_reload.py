"""--reload: a developer saves a file, and the next request runs it or shows the error."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness import NoResponse, build_request, wait_until
from harness.ports import free_port
from harness.supervision import Load, serving_pid

pytestmark = pytest.mark.second_door("no case")

SOURCE = """
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"{}"]
"""


def serves(server, body: bytes, status: int = 200) -> None:
    def is_so() -> bool:
        try:
            response = server.get("/")
        except (NoResponse, ConnectionError):
            return False  # a worker that ends closes a connection that is slow to make its request
        return response.status == status and body in response.body

    wait_until(is_so, f"{status} {body!r}\n{server.stderr()}")


def save(path: Path, text: str) -> None:
    """Save a file in one step: a worker may import one that is written when it is still empty."""
    new = path.with_suffix(".new")
    new.write_text(text)
    new.rename(path)


def edit(server, path: Path, text: str) -> None:
    """Save a file, and wait until the old worker has ended."""
    # The line of its own boot may come later than its first response.
    server.wait_for_event("server.ready")
    start = len(server.stderr())
    save(path, text)
    server.wait_for_event("worker.booting", start=start)


def test_reload_on_change_survives_a_mistake(fresh_server, tmp_path: Path) -> None:
    module = tmp_path / "edited.py"
    module.write_text(SOURCE.format("one"))
    server = fresh_server("edited:app", "--reload", "--workers", "2", cwd=tmp_path)
    serves(server, b"one")
    module.write_text(SOURCE.format("two!"))
    server.wait_for_event("reload.source_changed", r"edited\.py")
    serves(server, b"two!")
    module.write_text("oops = <b>\n")
    serves(server, b"SyntaxError", 500)
    serves(server, b"&lt;b&gt;", 500)
    module.write_text(SOURCE.format("three"))
    serves(server, b"three")


def test_reload_to_broken_code_is_logged(fresh_server, tmp_path: Path) -> None:
    """Regression: the log reported a successful reload."""
    module = tmp_path / "edited.py"
    module.write_text(SOURCE.format("one"))
    server = fresh_server("edited:app", "--reload", cwd=tmp_path)
    serves(server, b"one")
    module.write_text("oops = <b>\n")
    server.wait_for_event("reload.error_page")
    assert "[reload.completed]" not in server.stderr()
    module.write_text(SOURCE.format("mended"))
    server.wait_for_event("reload.completed")
    serves(server, b"mended")


def test_broken_code_at_the_start_is_reloaded_once_fixed(fresh_server, tmp_path: Path) -> None:
    module = tmp_path / "edited.py"
    module.write_text("import nothing_of_that_name\n")
    server = fresh_server("edited:app", "--reload", cwd=tmp_path)
    serves(server, b"nothing_of_that_name", 500)
    module.write_text(SOURCE.format("mended"))
    serves(server, b"mended")


def test_change_of_an_extra_file_reloads(fresh_server, tmp_path: Path) -> None:
    (tmp_path / "edited.py").write_text(
        "text = open('data').read().encode()\n" + SOURCE.replace('b"{}"', "text")
    )
    (tmp_path / "data").write_text("one")
    server = fresh_server("edited:app", "--reload", "--reload-extra-file", "data", cwd=tmp_path)
    serves(server, b"one")
    (tmp_path / "data").write_text("two!")
    serves(server, b"two!")


def test_change_without_reload_option_is_ignored(fresh_server, tmp_path: Path) -> None:
    module = tmp_path / "edited.py"
    module.write_text(SOURCE.format("one"))
    args = ["--max-worker-lifetime", "600"]
    server = fresh_server("edited:app", *args, cwd=tmp_path)
    serves(server, b"one")
    module.write_text(SOURCE.format("two!"))
    serves(server, b"one")
    assert "reload.source_changed" not in server.stderr()


def test_module_without_a_file_is_not_watched(fresh_server, tmp_path: Path) -> None:
    """Regression: stand-ins for missing modules may raise any exception, which ended the start."""
    module = tmp_path / "edited.py"
    stand_in = (
        "import sys, types\n"
        "class StandIn(types.ModuleType):\n"
        "    def __getattribute__(self, name):\n"
        "        raise ImportError('not installed')\n"
        "sys.modules['stand_in'] = StandIn('stand_in')\n"
    )
    module.write_text(stand_in + SOURCE.format("one"))
    server = fresh_server("edited:app", "--reload", cwd=tmp_path)
    serves(server, b"one")
    module.write_text(stand_in + SOURCE.format("two!"))
    serves(server, b"two!")


# ------------------------------------------------------------------ between old and new


def test_change_shows_although_connections_are_idle(fresh_server, tmp_path: Path) -> None:
    """Regression: the old worker kept the connections of a browser, and answered them with the old
    code for as long as --keep-alive."""
    module = tmp_path / "edited.py"
    module.write_text(SOURCE.format(0))
    server = fresh_server("edited:app", "--reload", "--keep-alive", "600", cwd=tmp_path)
    for number in range(1, 11):  # all sources have the same size
        with server.connect() as kept, server.connect() as unused:
            assert kept.request(build_request()).body == b"%d" % ((number - 1) % 10)
            # One that still waits in the kernel would be accepted by the new worker.
            wait_until(lambda: server.holds(unused), "it is accepted")
            edit(server, module, SOURCE.format(number % 10))
            assert server.get("/").body == b"%d" % (number % 10)
            assert kept.at_eof() and unused.at_eof()
    server.wait_for_event("reload.completed")


def test_changes_under_load_lose_no_client(fresh_server, tmp_path: Path) -> None:
    module = tmp_path / "edited.py"
    module.write_text(SOURCE.format(0))
    server = fresh_server("edited:app", "--reload", cwd=tmp_path)
    # The server gives each connection 20 ms from its accept for the first request.
    with Load(server.connect, kept=0, fresh=6, first_request_seconds=0.01) as load:
        for number in range(1, 5):
            edit(server, module, SOURCE.format(number))
            wait_until(lambda: b"%d" % number in load.bodies, "the new code serves")  # noqa: B023
    assert load.failures == []


def test_request_waits_while_the_application_is_imported(
    fresh_server, tmp_path: Path, fifo: Path
) -> None:
    module = tmp_path / "edited.py"
    module.write_text(SOURCE.format("one"))
    server = fresh_server("edited:app", "--reload", cwd=tmp_path)
    serves(server, b"one")
    edit(server, module, f"open({str(fifo)!r}).read()\n" + SOURCE.format("two"))
    with server.connect() as client:
        client.send(build_request())
        fifo.write_text("go on")
        assert client.response().body == b"two"


def test_port_that_is_bound_at_import_is_free(fresh_server, tmp_path: Path) -> None:
    """Regression: the new worker served the error page, as the old one had the port of the
    application's metrics server."""
    port = free_port()
    binding = f"import socket\nmetrics = socket.create_server(('127.0.0.1', {port}))\n"
    module = tmp_path / "edited.py"
    module.write_text(binding + SOURCE.format(0))
    server = fresh_server("edited:app", "--reload", cwd=tmp_path)
    for number in range(1, 4):
        edit(server, module, binding + SOURCE.format(number))
        response = server.get("/")
        assert (response.status, response.body) == (200, b"%d" % number)


STREAM = """
import threading

def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/event-stream")])
    if environ["PATH_INFO"] == "/version":
        return [b"{}"]
    return stream()

def stream():
    while True:
        yield b"data: tick\\n\\n"
        threading.Event().wait(0.05)
"""


def test_stream_does_not_keep_a_change_from_showing(fresh_server, tmp_path: Path) -> None:
    module = tmp_path / "edited.py"
    module.write_text(STREAM.format("one"))
    server = fresh_server("edited:app", "--reload", "--graceful-timeout", "600", cwd=tmp_path)
    with server.connect() as client:
        client.send(build_request())
        assert client.read(10)
        edit(server, module, STREAM.format("two"))
        assert server.get("/version").body == b"two"
        with pytest.raises(ConnectionResetError):  # so that the browser connects again
            client.rest()
            raise ConnectionResetError


@pytest.mark.parametrize(
    "handler", ["", "import signal; signal.signal(signal.SIGTERM, lambda *_: None)\n"]
)
def test_change_while_the_application_is_imported_is_loaded(
    fresh_server, tmp_path: Path, fifo: Path, handler: str
) -> None:
    """Regression: the files were watched from the end of the import. A change before that was
    missed until the next one."""
    module = tmp_path / "edited.py"
    module.write_text(SOURCE.format("one"))
    server = fresh_server("edited:app", "--reload", cwd=tmp_path)
    serves(server, b"one")
    edit(server, module, handler + f"open({str(fifo)!r}).read()\n" + SOURCE.format("two"))
    writer = fifo.open("w")  # returns when the import waits
    save(module, SOURCE.format("three"))
    with server.connect() as client:
        client.send(build_request())
        writer.close()
        assert client.response().body == b"three", "the second version never serves"


def test_crash_of_the_new_code_is_left_when_it_is_mended(fresh_server, tmp_path: Path) -> None:
    """No worker is there that could notice the change."""
    module = tmp_path / "edited.py"
    module.write_text(SOURCE.format("one"))
    server = fresh_server("edited:app", "--reload", cwd=tmp_path)
    serves(server, b"one")
    module.write_text("import os\nos._exit(7)\n")
    server.wait_for_event("worker.boot_failed", "code 7")
    module.write_text(SOURCE.format("two"))
    serves(server, b"two")


def test_thread_of_the_application_does_not_delay_the_new_code(
    fresh_server, tmp_path: Path
) -> None:
    """Python waits for it at the exit of the old worker."""
    module = tmp_path / "edited.py"
    thread = "import threading\nthreading.Thread(target=threading.Event().wait).start()\n"
    module.write_text(thread + SOURCE.format("one"))
    server = fresh_server("edited:app", "--reload", cwd=tmp_path)
    serves(server, b"one")
    module.write_text(SOURCE.format("two"))
    serves(server, b"two")


def test_application_that_rewrites_itself_is_served(fresh_server, tmp_path: Path) -> None:
    (tmp_path / "edited.py").write_text(
        "import os, pathlib\npathlib.Path(__file__).touch()\n" + SOURCE.format("one")
    )
    server = fresh_server("edited:app", "--reload", cwd=tmp_path)
    serves(server, b"one")


# --------------------------------------------------------------------- what is watched


def test_module_that_is_imported_later_is_watched(fresh_server, tmp_path: Path) -> None:
    (tmp_path / "edited.py").write_text(
        SOURCE.replace("    start", "    import later\n    start").replace('b"{}"', "later.text")
    )
    later = tmp_path / "later.py"
    later.write_text("text = b'one'\n")
    server = fresh_server("edited:app", "--reload", cwd=tmp_path)
    serves(server, b"one")
    later.write_text("text = b'two'\n")
    serves(server, b"two")


def test_file_that_is_replaced_by_another_is_noticed(fresh_server, tmp_path: Path) -> None:
    """As editors save, and deployments that switch a link."""
    (tmp_path / "real").mkdir()
    module = tmp_path / "edited.py"
    module.symlink_to(tmp_path / "real" / "edited.py")
    module.write_text(SOURCE.format("one"))
    server = fresh_server("edited:app", "--reload", cwd=tmp_path)
    serves(server, b"one")
    (tmp_path / "new").write_text(SOURCE.format("two"))
    (tmp_path / "new").rename(tmp_path / "real" / "edited.py")
    serves(server, b"two")
    (tmp_path / "other").write_text(SOURCE.format("three"))
    (tmp_path / "link").symlink_to(tmp_path / "other")
    (tmp_path / "link").rename(module)
    serves(server, b"three")


def test_extra_files_are_named_by_directories_and_patterns(fresh_server, tmp_path: Path) -> None:
    (tmp_path / "edited.py").write_text(
        "import pathlib\n"
        "text = ' '.join(sorted(str(p) for p in pathlib.Path().glob('d*/**/*') if p.is_file()))\n"
        + SOURCE.replace('b"{}"', "text.encode()")
    )
    for path in ["data/sub/a", "dir/b.yml"]:
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).touch()
    options = ["--reload", "--reload-extra-file", "data", "--reload-extra-file", "dir/*.yml"]
    server = fresh_server("edited:app", *options, cwd=tmp_path)
    serves(server, b"data/sub/a dir/b.yml")
    (tmp_path / "data" / "sub" / "new").touch()
    serves(server, b"data/sub/a data/sub/new dir/b.yml")
    (tmp_path / "dir" / "c.txt").touch()
    (tmp_path / "dir" / "c.yml").touch()
    serves(server, b"data/sub/a data/sub/new dir/b.yml dir/c.txt dir/c.yml")
    (tmp_path / "data" / "sub" / "a").unlink()
    serves(server, b"data/sub/new dir/b.yml dir/c.txt dir/c.yml")


FLASK = """
import flask
from werkzeug.middleware.proxy_fix import ProxyFix

pages = flask.Blueprint("pages", __name__, template_folder="pages")
flask_app = flask.Flask(__name__)
flask_app.register_blueprint(pages)

@flask_app.get("/")
def show():
    return flask.render_template("own.html") + flask.render_template("page.html")

app = ProxyFix(flask_app)
del flask_app, pages
"""
JINJA = """
import jinja2

environment = jinja2.Environment(
    loader=jinja2.ChoiceLoader([jinja2.DictLoader({}), jinja2.FileSystemLoader("templates")]),
    auto_reload=False,
)

def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [environment.get_template("own.html").render().encode()]
"""
DJANGO = """
import django
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.shortcuts import render
from django.urls import path

settings.configure(
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates", "DIRS": ["templates"]}],
)
urlpatterns = [path("", lambda request: render(request, "own.html"))]
app = get_wsgi_application()
"""


@pytest.mark.parametrize(
    ("framework", "source"), [("flask", FLASK), ("jinja2", JINJA), ("django", DJANGO)]
)
def test_templates_are_watched(fresh_server, tmp_path: Path, framework: str, source: str) -> None:
    """Regression: an edited template did not show, as the framework had it in its cache."""
    pytest.importorskip(framework)
    (tmp_path / "edited.py").write_text(source)
    own, page = tmp_path / "templates" / "own.html", tmp_path / "pages" / "page.html"
    for template in own, page:
        template.parent.mkdir()
        template.write_text("first")
    server = fresh_server("edited:app", "--reload", cwd=tmp_path)
    serves(server, b"first")
    own.write_text("second")
    serves(server, b"second")
    if framework == "flask":
        page.write_text("third")
        serves(server, b"secondthird")


#: An object that is made at its first use, as those of Django and werkzeug.
LAZY = """
import sys, jinja2
from supervised import app


class Lazy:
    @property
    def __class__(self):
        print("made", file=sys.stderr, flush=True)
        return object


lazy = Lazy()
"""


def test_lazy_object_is_not_made_by_the_search_for_templates(fresh_server, tmp_path: Path) -> None:
    """Regression: the search asked every global of the application for its class."""
    pytest.importorskip("jinja2")
    (tmp_path / "lazy.py").write_text(LAZY)
    server = fresh_server("lazy:app", "--reload", "--pythonpath", str(tmp_path))
    serving_pid(server)
    assert "made" not in server.stderr()


# ---------------------------------------------------------------------- the error page


def test_error_page_is_left_when_a_missing_module_appears(fresh_server, tmp_path: Path) -> None:
    (tmp_path / "edited.py").write_text("import missing_part\n" + SOURCE.format("one"))
    server = fresh_server("edited:app", "--reload", cwd=tmp_path)
    serves(server, b"missing_part", 500)
    (tmp_path / "missing_part.py").touch()
    serves(server, b"one")


def test_error_page_asks_for_itself_until_it_changes(fresh_server, tmp_path: Path) -> None:
    (tmp_path / "edited.py").write_text("oops = </pre>\n")
    server = fresh_server("edited:app", "--reload", cwd=tmp_path)
    page = server.get("/")
    (mark,) = [value for name, value in page.fields if name.lower() == "x-rustwsgi-error-page"]
    assert mark.encode() in page.body and b"location.reload()" in page.body
    assert server.get("/", method="HEAD").status == 500
    assert b"location.reload()" not in server.get("/", method="POST", body=b"x").body
