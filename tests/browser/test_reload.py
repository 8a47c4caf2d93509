"""--reload as a developer sees it: save a file, press the browser's reload key."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from browser.chrome import Browser, chromium, missing
from harness import ServerProcess
from harness.projects import save

reason = missing()
pytestmark = pytest.mark.skipif(reason is not None, reason=reason or "")

# A page with a style sheet of its own: browsers open several connections, and keep them.
SOURCE = """
def app(environ, start_response):
    if environ["PATH_INFO"] == "/style.css":
        start_response("200 OK", [("Content-Type", "text/css")])
        return [b"p {{ color: green }}"]
    start_response("200 OK", [("Content-Type", "text/html; charset=utf-8")])
    return [b"<!doctype html><link rel=stylesheet href=/style.css><p>version {}</p>"]
"""


@pytest.fixture(scope="module")
def _chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


def edit(server: ServerProcess, module: Path, text: str) -> None:
    """Save the file, and wait until the old worker has ended: a new one boots after that."""
    server.wait_for_event("server.ready")
    start = len(server.stderr())
    save(module, text)
    server.wait_for_event("worker.booting", start=start)


def test_change_shows_at_the_next_press_of_the_reload_key(
    _chromium: Browser, fresh_server, tmp_path: Path
) -> None:
    """Regression: 8 of 8 changes showed the old version, although the log said "Reloaded": the old
    worker served the connections that the browser had kept."""
    module = tmp_path / "edited.py"
    module.write_text(SOURCE.format(0))
    server = fresh_server("edited:app", "--reload", cwd=tmp_path)
    _chromium.reset(f"http://127.0.0.1:{server.port}")
    _chromium.open("/")
    shown = [_chromium.text("p")]
    for number in range(1, 11):
        edit(server, module, SOURCE.format(number))
        _chromium.driver.refresh()
        shown.append(_chromium.text("p"))
    assert shown == [f"version {number}" for number in range(11)]


def test_error_page_is_left_when_the_code_is_mended(
    _chromium: Browser, fresh_server, tmp_path: Path
) -> None:
    module = tmp_path / "edited.py"
    module.write_text(SOURCE.format(0))
    server = fresh_server("edited:app", "--reload", cwd=tmp_path)
    _chromium.reset(f"http://127.0.0.1:{server.port}")
    edit(server, module, "first mistake\n")
    _chromium.open("/")
    assert "first mistake" in _chromium.text("pre")
    save(module, "second mistake\n")
    _chromium.wait(lambda: "second mistake" in _chromium.text("pre"), "the other mistake")
    save(module, SOURCE.format(1))
    _chromium.wait(lambda: _chromium.text("p") == "version 1", "the application")
