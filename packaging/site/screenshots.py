"""Makes the pictures of the documentation: `make screenshots`.

The demo, the live page of --metrics and `rustwsgi top`, of one server under a little load. Chromium
draws the pages; a terminal emulator (pyte) takes what `top` writes, and Chromium draws that, too.
"""

from __future__ import annotations

import contextlib
import fcntl
import html
import os
import pty
import re
import select
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pyte

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from browser.chrome import Browser, chromium  # noqa: E402

IMAGES = ROOT / "docs" / "images"
COLUMNS, LINES = 110, 26
#: A little of everything: quick and slow requests, errors.
APP = """
import time

def app(environ, start_response):
    path = environ["PATH_INFO"]
    time.sleep({"/report": 4.0, "/search": 0.2}.get(path, 0.005))
    status = "404 Not Found" if path == "/absent" else "200 OK"
    start_response(status, [("Content-Type", "text/plain"), ("Content-Length", "3")])
    return [b"ok\\n"]
"""
PATHS = ["/"] * 40 + ["/search?q=rust", "/search?q=wsgi", "/absent", "/report?year=2026"]
COLOURS = {
    "default": "#d4d4d4",
    "red": "#f87171",
    "green": "#4ade80",
    "brown": "#facc15",
    "blue": "#60a5fa",
    "magenta": "#e879f9",
    "cyan": "#22d3ee",
    "brightblack": "#8b949e",
}


@contextlib.contextmanager
def serving(directory: Path, *arguments: str) -> Iterator[dict[str, str]]:
    """A server; its addresses by `http` and `metrics`."""
    command = [sys.executable, "-m", "rustwsgi", "--bind", "127.0.0.1:0", *arguments]
    server = subprocess.Popen(command, cwd=directory, stderr=subprocess.PIPE, text=True)
    assert server.stderr
    found: dict[str, str] = {}
    try:
        for line in server.stderr:
            address = re.search(r"http://[\d.]+:\d+", line)
            if address:
                found["metrics" if "etrics" in line else "http"] = address[0]
            if "Ready:" in line:
                break
        threading.Thread(target=server.stderr.read, daemon=True).start()
        yield found
    finally:
        server.terminate()
        server.wait(20)


@contextlib.contextmanager
def loaded(address: str) -> Iterator[None]:
    """Eight clients that send requests all the time."""
    ended = threading.Event()

    def client(offset: int) -> None:
        at = offset
        while not ended.is_set():
            at += 1
            with contextlib.suppress(OSError):
                urllib.request.urlopen(address + PATHS[at % len(PATHS)], timeout=10).read()
            time.sleep(0.01)

    threads = [threading.Thread(target=client, args=(n * 5,)) for n in range(8)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def terminal(command: list[str], seconds: float) -> pyte.Screen:
    """The screen of a command after some seconds."""
    screen = pyte.Screen(COLUMNS, LINES)
    stream = pyte.ByteStream(screen)
    outer, inner = pty.openpty()
    fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
    env = os.environ | {"TERM": "xterm-256color"}
    process = subprocess.Popen(command, stdin=inner, stdout=inner, stderr=inner, env=env)
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        if select.select([outer], [], [], left)[0]:
            stream.feed(os.read(outer, 65536))
    # The screen stays as it is: what `top` writes at its end is not read.
    os.write(outer, b"q")
    process.wait(10)
    os.close(outer)
    os.close(inner)
    return screen


def as_page(screen: pyte.Screen) -> str:
    """A page that looks like the screen."""
    rows = []
    for y in range(screen.lines):
        row = []
        for x in range(screen.columns):
            cell = screen.buffer[y][x]
            colour = COLOURS.get(cell.fg, f"#{cell.fg}" if len(cell.fg) == 6 else "#d4d4d4")
            weight = "700" if cell.bold else "400"
            style = f"color:{colour};font-weight:{weight}"
            row.append(f'<span style="{style}">{html.escape(cell.data)}</span>')
        rows.append("".join(row))
    css = "margin:0;padding:14px 18px;background:#161b22;font:14px/1.35 monospace;width:max-content"
    text = "\n".join(rows)
    return f'<!doctype html><meta charset="utf-8"><body style="{css}"><pre style="margin:0">{text}'


def picture(browser: Browser, name: str) -> None:
    """Keep the page that is shown."""
    browser.screenshot(name).replace(IMAGES / f"{name}.png")
    print(f"docs/images/{name}.png")


def main() -> None:
    """Make all pictures."""
    IMAGES.mkdir(exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="rustwsgi-pictures-") as home,
        contextlib.ExitStack() as stack,
    ):
        directory = Path(home)
        (directory / "shop.py").write_text(APP)
        browser = stack.enter_context(chromium(directory / "profile"))
        demo = ROOT / "flask_application"
        with serving(demo, "--static", "auto", "flask_app:app") as addresses:
            browser.reset(addresses["http"])
            browser.emulate("light", 1100, 800)
            browser.open("/")
            # What a visitor sees first: the page is long.
            (IMAGES / "demo.png").write_bytes(browser.driver.get_screenshot_as_png())
            print("docs/images/demo.png")
        options = ("--workers", "2", "--threads", "4", "--metrics", "127.0.0.1:0", "shop:app")
        with serving(directory, *options) as addresses, loaded(addresses["http"]):
            time.sleep(8)  # the charts need a history
            for scheme in ("light", "dark"):
                browser.reset(addresses["metrics"])
                browser.emulate(scheme, 1100, 800)
                browser.open("/")
                time.sleep(6)
                picture(browser, f"live-page-{scheme}")
            where = addresses["metrics"].removeprefix("http://")
            command = [sys.executable, "-m", "rustwsgi", "top", "--metrics", where]
            page = directory / "top.html"
            page.write_text(as_page(terminal(command, 12.0)))
        browser.reset("")
        browser.emulate("dark", 1000, 480)
        browser.open(page.as_uri())
        picture(browser, "top")


if __name__ == "__main__":
    main()
