"""Chromium for tests: headless, from the system's packages, and silent towards the network.

Selenium would fetch a browser and report statistics by itself; given both paths and the settings
below it does neither.
"""

from __future__ import annotations

import base64
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SCREENSHOTS = Path(__file__).with_name("screenshots")
TIMEOUT = 40.0

ARGUMENTS = [
    "--headless",
    "--no-sandbox",  # Chromium refuses to run as root otherwise, as CI containers do
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--no-proxy-server",
]

# The lowest contrast between a text and what it stands on, and that text. A canvas turns whatever
# notation getComputedStyle uses into numbers.
LOWEST_CONTRAST = """
const context = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
const rgba = (colour) => {
  context.clearRect(0, 0, 1, 1);
  context.fillStyle = colour;
  context.fillRect(0, 0, 1, 1);
  return context.getImageData(0, 0, 1, 1).data;
};
const behind = (element) => {
  const layers = [];
  for (let e = element; e; e = e.parentElement) {
    layers.push(rgba(getComputedStyle(e).backgroundColor));
  }
  let result = [255, 255, 255];
  for (const layer of layers.reverse()) {
    const a = layer[3] / 255;
    result = result.map((c, i) => c * (1 - a) + layer[i] * a);
  }
  return result;
};
const luminance = (rgb) => {
  const [r, g, b] = [...rgb].slice(0, 3).map((c) => c / 255)
    .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
let lowest = [21, ""];
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const element = walker.currentNode.parentElement;
  if (!walker.currentNode.data.trim() || !element.checkVisibility()) continue;
  if (element.closest("script, noscript, title, .sr, .skip")) continue;
  const [a, b] = [luminance(rgba(getComputedStyle(element).color)), luminance(behind(element))];
  const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  if (contrast < lowest[0]) lowest = [contrast, walker.currentNode.data.trim()];
}
return lowest;
"""


def missing() -> str | None:
    """Why no browser is available, or None."""
    if not shutil.which("chromium") or not shutil.which("chromedriver"):
        return (
            "needs Debian's chromium and chromium-driver: apt-get install chromium chromium-driver"
        )
    try:
        import selenium  # noqa: F401
    except ImportError:
        return "needs selenium: pip install selenium"
    return None


class Browser:
    """A running Chromium; `driver` is Selenium's."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver
        self.base = ""

    def reset(self, base: str) -> None:
        """A blank page, default settings, an empty console; paths are relative to `base`."""
        self.base = base
        self.driver.get("about:blank")
        self.emulate()
        self.console_errors()

    def emulate(self, scheme: str = "light", width: int = 1200, height: int = 900) -> None:
        media = [{"name": "prefers-color-scheme", "value": scheme}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": media})
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)

    def open(self, path: str) -> None:
        self.driver.get(self.base + path)

    def find(self, selector: str) -> Any:
        return self.driver.find_element("css selector", selector)

    def text(self, selector: str) -> str:
        return str(self.find(selector).text)

    def click(self, selector: str) -> None:
        """Click as a user does, after scrolling there without the smooth movement."""
        element = self.find(selector)
        self.script("arguments[0].scrollIntoView({behavior: 'instant', block: 'center'})", element)
        element.click()

    def script(self, source: str, *arguments: Any) -> Any:
        return self.driver.execute_script(source, *arguments)

    def wait(self, condition: Callable[[], Any], what: str) -> Any:
        """The condition's first true value; a page may be replaced while it is looked at."""
        from selenium.common.exceptions import (
            NoSuchElementException,
            StaleElementReferenceException,
        )
        from selenium.webdriver.support.wait import WebDriverWait

        patient = WebDriverWait(
            self.driver,
            TIMEOUT,
            poll_frequency=0.05,
            ignored_exceptions=[NoSuchElementException, StaleElementReferenceException],
        )
        return patient.until(lambda _: condition(), f"waited for {what}")

    def wait_for_url(self, url: str) -> None:
        self.wait(lambda: self.driver.current_url == url, url)

    def status(self) -> int:
        """The status of the page that is shown."""
        return int(
            self.script("return performance.getEntriesByType('navigation')[0].responseStatus")
        )

    def console_errors(self) -> list[str]:
        """What went to the console since the last call: failed loads, CSP, exceptions."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def allow_downloads(self, folder: Path) -> None:
        where = {"behavior": "allow", "downloadPath": str(folder)}
        self.driver.execute_cdp_cmd("Browser.setDownloadBehavior", where)

    def screenshot(self, name: str) -> Path:
        """The whole page, as far down as it goes."""
        width, height = self.script(
            "const e = document.documentElement; return [e.clientWidth, e.scrollHeight]"
        )
        clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
        shot = self.driver.execute_cdp_cmd(
            "Page.captureScreenshot",
            {"format": "png", "captureBeyondViewport": True, "clip": clip},
        )
        SCREENSHOTS.mkdir(exist_ok=True)
        path = SCREENSHOTS / f"{name}.png"
        path.write_bytes(base64.b64decode(shot["data"]))
        return path


@contextmanager
def chromium(profile: Path, *arguments: str) -> Iterator[Browser]:
    """A Chromium with `profile`, an empty folder, as its user data, and these further arguments."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    os.environ.update(SE_OFFLINE="true", SE_AVOID_STATS="true")
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for argument in [*ARGUMENTS, *arguments, f"--user-data-dir={profile}"]:
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    try:
        yield Browser(driver)
    finally:
        driver.quit()
