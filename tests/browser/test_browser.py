"""A walk through the Flask demo with a real browser, a client that this project did not write.

Screenshots go to tests/browser/screenshots: look at them after changing a page.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from browser.chrome import LOWEST_CONTRAST, Browser, chromium, missing
from harness import ROOT, ServerProcess

reason = missing()
pytestmark = pytest.mark.skipif(reason is not None, reason=reason or "")

FLASK = ROOT / "flask_application"
PAGES = {"home": "/", "form": "/form", "upload": "/upload", "stream": "/stream", "try": "/try"}


@pytest.fixture(scope="module")
def _chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture
def site(serve: Callable[..., ServerProcess]) -> ServerProcess:
    pytest.importorskip("flask")
    return serve("flask_app:app", "--workers", "1", "--threads", "8", "--chdir", str(FLASK))


@pytest.fixture
def browser(_chromium: Browser, site: ServerProcess) -> Browser:
    _chromium.reset(f"http://127.0.0.1:{site.port}")
    return _chromium


@pytest.fixture
def clean(browser: Browser) -> Iterator[Browser]:
    """The browser, for tests in which nothing may go to its console."""
    yield browser
    assert browser.console_errors() == []


def open_home(browser: Browser) -> None:
    """Open the start page and wait until its script has completed it."""
    browser.open("/")
    browser.wait(lambda: browser.find("#exchange").get_attribute("data-state"), "the exchange")


def test_home_shows_the_environ(clean: Browser, site: ServerProcess) -> None:
    open_home(clean)
    assert "GET / HTTP/1.1" in clean.text("#bytes-in .wire")
    rows = clean.script(
        "return Object.fromEntries([...document.querySelectorAll('.environ tbody tr')]"
        ".map((row) => [...row.querySelectorAll('code')].map((code) => code.textContent)))"
    )
    assert rows["REQUEST_METHOD"] == "'GET'"
    assert rows["HTTP_HOST"] == f"'127.0.0.1:{site.port}'"
    assert rows["wsgi.version"] == "(1, 0)"
    assert "Chrome" in rows["HTTP_USER_AGENT"]


def test_home_shows_the_start_response_arguments(clean: Browser) -> None:
    open_home(clean)
    assert clean.find("#exchange").get_attribute("data-state") == "finished"
    assert clean.text("#captured-status") == "200 OK"
    assert "text/html; charset=utf-8" in clean.text("#captured")
    assert clean.text("#block-count") == "6"
    assert clean.text("#closed") == "yes"
    assert len(clean.driver.find_elements("css selector", "#bars rect")) == 6
    # The page's own bytes, by the browser's count and by the middleware's.
    received = clean.script("return performance.getEntriesByType('navigation')[0].decodedBodySize")
    assert clean.text("#byte-count").replace("\u2009", "") == str(received)
    assert "Date: " in clean.text("#server-fields")
    assert "…" not in clean.text("#server-fields")


def test_home_lists_earlier_requests(clean: Browser) -> None:
    clean.open("/form")
    open_home(clean)
    assert "GET /form" in clean.text(".recent tbody tr")


def test_form_round_trip(clean: Browser) -> None:
    clean.open("/form")
    for field, value in (("#name", "Zoë <script>"), ("#message", "one & two\nthree")):
        clean.find(field).clear()
        clean.find(field).send_keys(value)
    clean.click("form button")
    clean.wait(lambda: clean.text("#fields"), "the answer")
    values = clean.script(
        "return [...document.querySelectorAll('#fields .value')].map((e) => e.textContent)"
    )
    assert values == ["Zoë <script>", "one & two\nthree"]
    assert "name=Zo%C3%AB+%3Cscript%3E&message=one+%26+two%0D%0Athree" in clean.text(
        "#received .wire pre"
    )
    clean.screenshot("form-sent")


def test_upload(clean: Browser, tmp_path: Path) -> None:
    content = bytes(range(256)) * 20_000
    file = tmp_path / "some file.bin"
    file.write_bytes(content)
    clean.open("/upload")
    clean.find("#file").send_keys(str(file))
    clean.click("form button")
    assert clean.wait(lambda: clean.text("#sha256"), "the hash") == (
        hashlib.sha256(content).hexdigest()
    )
    assert clean.text("#size").replace("\u2009", "") == str(len(content))
    assert clean.text("#received h2") == "some file.bin"
    clean.screenshot("upload-sent")


def test_download(clean: Browser, site: ServerProcess, tmp_path: Path) -> None:
    clean.allow_downloads(tmp_path)
    clean.open("/try")
    clean.click("#download .button")
    file = tmp_path / "rustwsgi-demo.txt"  # has another name until it is complete
    clean.wait(file.exists, "the file")
    assert file.read_bytes() == site.get("/download").body


def test_events_arrive_live(clean: Browser) -> None:
    """The first events are seen while the last ones are still to come."""

    def is_live() -> bool:
        clean.open("/stream")
        seen = clean.wait(lambda: int(clean.text("#received")), "the first event")
        was_running = clean.find("#live").get_attribute("data-state") == "running"
        clean.wait(
            lambda: clean.find("#live").get_attribute("data-state") == "complete", "the last event"
        )
        assert clean.text("#received") == "20"
        assert len(clean.driver.find_elements("css selector", "#strip circle")) == 20
        last = clean.text("#log").splitlines()[-1].split()
        return seen < 20 and was_running and float(last[0]) > 2

    # A loaded machine may run the browser so late that all of them wait for it.
    assert any(is_live() for _ in range(5)), "they came in one heap"
    clean.screenshot("stream-complete")


def test_raise_shows_a_page_that_says_where_the_traceback_is(
    browser: Browser, site: ServerProcess
) -> None:
    """Regression: it was a line of plain text, from which no link led back."""
    mark = len(site.stderr())
    browser.open("/try")
    browser.click("#raise .button")
    browser.wait_for_url(browser.base + "/raise")
    assert browser.status() == 500
    assert "Internal Server Error" in browser.driver.page_source
    assert "on purpose" not in browser.driver.page_source
    assert "The traceback is in the error log" in browser.text("main")
    assert browser.find("main .button").get_attribute("href") == browser.base + "/"
    site.wait_for_log("RuntimeError: raised on purpose", start=mark)
    browser.screenshot("raise")


@pytest.mark.parametrize("width", [1280, 800])
def test_environ_tables_leave_room_for_the_meaning(browser: Browser, width: int) -> None:
    """Regression: the values, most of which are short, had more room than their explanations, and
    the rounded corner cut off the first letter of the heading."""
    browser.emulate(width=width)
    browser.open("/")
    columns = "return [...document.querySelectorAll('#environ-request thead th')].map((e) => e.offsetWidth)"
    key, value, meaning = browser.script(columns)
    assert meaning > 1.4 * max(key, value), (key, value, meaning)
    overflow = "return getComputedStyle(document.querySelector('.environ')).overflow"
    assert browser.script(overflow) == "visible"
    assert browser.script("return document.documentElement.scrollWidth") <= width


def test_unknown_page_is_a_404(browser: Browser) -> None:
    browser.open("/try")
    browser.click("#missing .button")
    browser.wait(lambda: "Not Found" in browser.text("h1"), "the page")
    assert browser.status() == 404
    browser.screenshot("404")


def test_navigation_links_to_every_page(clean: Browser) -> None:
    clean.open("/")
    for path in ("/form", "/upload", "/stream", "/try", "/"):
        clean.click(f"nav a[href='{path}']")
        clean.wait_for_url(clean.base + path)
        assert clean.status() == 200
        assert clean.find("nav a[aria-current]").get_attribute("href") == clean.base + path


def test_page_loads_nothing_from_other_hosts(clean: Browser) -> None:
    open_home(clean)
    loaded = clean.script("return performance.getEntriesByType('resource').map((e) => e.name)")
    assert any(url.endswith("/static/style.css") for url in loaded)
    assert [url for url in loaded if not url.startswith(clean.base)] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_text_has_enough_contrast(clean: Browser, name: str, scheme: str) -> None:
    """WCAG 2.2, 1.4.3 (AA): a contrast of at least 4.5 to 1."""
    clean.emulate(scheme)
    open_home(clean) if name == "home" else clean.open(PAGES[name])
    background = clean.script("return getComputedStyle(document.body).backgroundColor")
    dark = sum(map(int, background.strip("rgb()").split(","))) < 3 * 128
    assert dark == (scheme == "dark")
    contrast, text = clean.script(LOWEST_CONTRAST)
    assert contrast >= 4.5, text
    clean.screenshot(f"{name}-{scheme}")


@pytest.mark.parametrize("width", [320, 390])
@pytest.mark.parametrize("name", PAGES)
def test_page_on_a_phone_does_not_scroll_sideways(clean: Browser, name: str, width: int) -> None:
    clean.emulate(width=width, height=800)
    open_home(clean) if name == "home" else clean.open(PAGES[name])
    assert clean.script("return document.documentElement.scrollWidth") <= width
    clean.screenshot(f"{name}-{width}")
