"""`--static auto`: the directories of Django's settings and of Flask's routes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from harness import ServerProcess

FLASK = """
from flask import Blueprint, Flask
app = Flask(__name__, static_url_path="/assets")
admin = Blueprint("admin", __name__, static_folder="admin_files", url_prefix="/admin")
app.register_blueprint(admin)

@app.get("/")
def home():
    return "home"

class Middleware:
    def __init__(self, app):
        self.app = app

    def __call__(self, environ, start_response):
        return self.app(environ, start_response)

wrapped = Middleware(Middleware(app))
method = Middleware(app.wsgi_app)
everywhere = Flask(__name__, static_url_path="")
everywhere.get("/")(home)
everywhere.post("/form")(home)
app2 = Flask("other", static_folder=None)
missing = Flask("missing", static_folder="/no/such/directory")

def create_app():
    return app
"""

DJANGO = """
import os
from pathlib import Path
import django
from django.conf import settings
from django.core.management import call_command
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.urls import path

HERE = Path(__file__).parent
settings.configure(
    SECRET_KEY="x",
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    INSTALLED_APPS=["django.contrib.staticfiles", "django.contrib.admin", "django.contrib.auth",
                    "django.contrib.contenttypes", "django.contrib.messages"],
    STATIC_URL=os.environ.get("STATIC_URL", "static/"),
    STATIC_ROOT=HERE / "collected",
    STORAGES={"staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.ManifestStaticFilesStorage"}},
)
urlpatterns = [path("", lambda request: HttpResponse("home"))]
application = get_wsgi_application()
if __name__ == "__main__":
    call_command("collectstatic", "--noinput", verbosity=0)
"""


@pytest.fixture(scope="session")
def flask_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("flask")
    directory = tmp_path_factory.mktemp("flask_auto")
    for name in ("static", "admin_files"):
        (directory / name).mkdir()
        (directory / name / "a.css").write_text(name)
    (directory / "site.py").write_text("")
    (directory / "flask_auto.py").write_text(FLASK)
    return directory


@pytest.fixture(scope="session")
def django_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose static files were collected as for production."""
    pytest.importorskip("django")
    directory = tmp_path_factory.mktemp("django_auto")
    (directory / "django_auto.py").write_text(DJANGO)
    subprocess.run([sys.executable, "django_auto.py"], cwd=directory, check=True)
    return directory


def is_served_by_rust(site: ServerProcess, path: str) -> bool:
    response = site.get(path)
    return response.status == 200 and response.get("Cache-Control", "").startswith("max-age=")


@pytest.mark.parametrize("name", ["app", "wrapped", "method", "create_app()"])
def test_folders_of_flask_are_served(serve, flask_dir, name):
    site = serve(f"flask_auto:{name}", "--static", "auto", "--chdir", str(flask_dir))
    site.wait_for_event("static.found", "/assets/ from .*/static")
    assert is_served_by_rust(site, "/assets/a.css")
    assert site.get("/assets/a.css").text == "static"
    assert site.get("/admin/admin_files/a.css").text == "admin_files"
    assert site.get("/").text == "home"
    assert site.get("/assets/missing").text == "404 Not Found\n"


def test_folder_at_the_root_leaves_the_routes_to_flask(serve, flask_dir):
    """With `static_url_path=""` the files are beside the routes, which must not become 404."""
    args = ("--static", "auto", "--chdir", str(flask_dir))
    site = serve("flask_auto:everywhere", *args)
    assert is_served_by_rust(site, "/a.css")
    assert site.get("/").text == "home"
    assert site.get("/form", method="POST", body=b"").text == "home"
    assert "<!doctype html>" in site.get("/missing").text


@pytest.mark.parametrize("name", ["app2", "missing"])
def test_flask_without_a_folder_is_served_with_a_warning(serve, flask_dir, name):
    site = serve(f"flask_auto:{name}", "--static", "auto", "--chdir", str(flask_dir))
    site.wait_for_event("static.none_found")
    assert site.get("/").status == 404


def test_application_without_a_framework_is_served_with_a_warning(serve):
    site = serve("static_app:app", "--static", "auto")
    site.wait_for_event("static.none_found")
    assert site.get("/static/a").get("X-From") == "app"


def test_explicit_directory_takes_precedence(serve, flask_dir):
    args = ("--static", f"/assets={flask_dir / 'admin_files'}", "--static", "auto")
    site = serve("flask_auto:app", *args, "--chdir", str(flask_dir))
    assert site.get("/assets/a.css").text == "admin_files"
    assert site.get("/admin/admin_files/a.css").text == "admin_files"


def test_collected_files_of_django_are_served(serve, django_dir):
    """A project that was collected needs no WhiteNoise and no nginx."""
    site = serve("django_auto", "--static", "auto", "--chdir", str(django_dir))
    site.wait_for_event("static.found", "/static/ from .*/collected")
    assert site.get("/").text == "home"
    assert is_served_by_rust(site, "/static/admin/css/base.css")
    hashed = next((django_dir / "collected/admin/css").glob("base.????????????.css"))
    response = site.get(f"/static/admin/css/{hashed.name}")
    assert response.body == hashed.read_bytes()
    assert response.get("Cache-Control") == "max-age=31536000, immutable"
    assert response.get("Content-Type") == "text/css; charset=utf-8"


def test_collected_files_at_the_root_leave_the_routes_to_django(fresh_server, django_dir):
    args = ("--static", "auto", "--chdir", str(django_dir))
    site = fresh_server("django_auto", *args, env={"STATIC_URL": "/"})
    assert is_served_by_rust(site, "/admin/css/base.css")
    assert site.get("/").text == "home"


@pytest.mark.parametrize("url", ["https://cdn.example/static/", "//cdn.example/static/"])
def test_static_url_of_another_host_is_not_served(fresh_server, django_dir, url):
    args = ("--static", "auto", "--chdir", str(django_dir))
    site = fresh_server("django_auto", *args, env={"STATIC_URL": url})
    site.wait_for_event("static.none_found", "another host")
    assert site.get("/static/admin/css/base.css").status == 404


def test_folders_are_found_with_preload_and_after_a_reload(fresh_server, flask_dir):
    args = ("--static", "auto", "--preload", "--chdir", str(flask_dir))
    site = fresh_server("flask_auto:app", *args)
    assert site.get("/assets/a.css").text == "static"
    site.wait_for_event("server.ready")
    site.send_signal(1)
    site.wait_for_event("reload.completed")
    assert site.get("/assets/a.css").text == "static"


def test_reload_with_a_directory_that_is_gone_is_rejected(fresh_server, tmp_path):
    (tmp_path / "static").mkdir()
    (tmp_path / "static/a").write_text("a")
    site = fresh_server("static_app:app", "--static", f"/s={tmp_path / 'static'}")
    site.wait_for_event("server.ready")
    (tmp_path / "static").rename(tmp_path / "moved")
    site.send_signal(1)
    site.wait_for_event("reload.rejected", "cannot serve the directory")
    assert site.get("/").get("X-From") == "app"
    (tmp_path / "moved").rename(tmp_path / "static")
    (tmp_path / "static/b").write_text("b")
    site.send_signal(1)
    site.wait_for_event("reload.completed")
    assert site.get("/s/b").text == "b"
