"""Chromium gets the demo over HTTP/2."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from browser.chrome import Browser, chromium, missing
from harness import ROOT, ServerProcess
from harness.tls import Authority

reason = missing()
pytestmark = pytest.mark.skipif(reason is not None, reason=reason or "")

FLASK = ROOT / "flask_application"
PAGES = ["/", "/form", "/upload", "/stream", "/try"]
#: The protocol of the page, and of everything that it has loaded.
PROTOCOLS = """
const entries = ["navigation", "resource"].flatMap((type) => performance.getEntriesByType(type));
return entries.map((entry) => [new URL(entry.name).pathname, entry.nextHopProtocol]);
"""


@pytest.fixture(scope="module")
def _chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    # It does not know the authority of the certificate.
    with chromium(tmp_path_factory.mktemp("profile"), "--ignore-certificate-errors") as browser:
        yield browser


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def browser(
    _chromium: Browser, serve: Callable[..., ServerProcess], authority: Authority
) -> Iterator[Browser]:
    """The browser at the demo. Nothing may go to its console."""
    pytest.importorskip("flask")
    certificate = authority.issue_once("localhost", "localhost").options()
    options = ("--workers", "1", "--threads", "8", "--static", "auto", "--chdir", str(FLASK))
    server = serve("flask_app:app", *certificate, *options)
    _chromium.reset(f"https://localhost:{server.port}")
    yield _chromium
    assert _chromium.console_errors() == []


def protocols(browser: Browser) -> dict[str, str]:
    return dict(browser.script(PROTOCOLS))


@pytest.mark.parametrize("path", PAGES)
def test_page_and_its_parts_come_over_http2(browser: Browser, path: str) -> None:
    browser.open(path)
    browser.wait(lambda: "/static/style.css" in protocols(browser), "the style sheet")
    assert browser.status() == 200
    assert set(protocols(browser).values()) == {"h2"}, protocols(browser)


def test_home_shows_the_protocol(browser: Browser) -> None:
    browser.open("/")
    browser.wait(lambda: browser.find("#exchange").get_attribute("data-state"), "the exchange")
    assert "GET / HTTP/2" in browser.text("#bytes-in .wire")
    assert set(protocols(browser).values()) == {"h2"}


def test_form_and_upload_are_sent_over_http2(browser: Browser, tmp_path: Path) -> None:
    browser.open("/form")
    browser.find("#name").clear()
    browser.find("#name").send_keys("Zo\u00eb & <b>")
    browser.click("form button")
    browser.wait(lambda: browser.text("#fields"), "the answer")
    assert "Zo\u00eb & <b>" in browser.text("#fields")
    assert protocols(browser)["/form"] == "h2"
    content = bytes(range(256)) * 20_000
    file = tmp_path / "some file.bin"
    file.write_bytes(content)
    browser.open("/upload")
    browser.find("#file").send_keys(str(file))
    browser.click("form button")
    found = browser.wait(lambda: browser.text("#sha256"), "the hash")
    assert found == hashlib.sha256(content).hexdigest()
    assert protocols(browser)["/upload"] == "h2"


def test_events_arrive_live_beside_other_requests(browser: Browser) -> None:
    """The first events are seen, and another response, while the last events are still to come."""

    def is_live() -> bool:
        browser.open("/stream")
        seen = browser.wait(lambda: int(browser.text("#received")), "the first event")
        text = browser.driver.execute_async_script(
            "fetch('/health').then(async (response) => arguments[0](await response.text()))"
        )
        assert text == "ok\n"
        was_running = browser.find("#live").get_attribute("data-state") == "running"
        browser.wait(lambda: "/health" in protocols(browser), "the entry of the request")
        assert protocols(browser)["/health"] == "h2"
        return seen < 20 and was_running

    # A loaded machine may run the browser so late that all events wait for it.
    assert any(is_live() for _ in range(5)), "they came in one heap"
