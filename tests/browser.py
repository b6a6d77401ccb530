"""A headless Chromium for tests: Debian's own, driven by Selenium."""

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.common.exceptions import JavascriptException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.support.wait import WebDriverWait

NEEDED = ("chromium", "chromedriver")
PATIENCE = 10.0
"""Seconds to wait for what a page does by itself."""

CONTRASTS = """
const shade = (colour) => {
  const [r, g, b, a = 1] = colour.match(/[\\d.]+/g).map(Number);
  const linear = (c) => (c <= 10 ? c / 255 / 12.92 : ((c / 255 + .055) / 1.055) ** 2.4);
  return { light: .2126 * linear(r) + .7152 * linear(g) + .0722 * linear(b), a };
};
const ground = (node) => {
  for (; node; node = node.parentElement) {
    const found = shade(getComputedStyle(node).backgroundColor);
    if (found.a === 1) return found.light;
  }
  return 1;
};
const found = [];
const walk = document.createTreeWalker(document.querySelector(arguments[0]), NodeFilter.SHOW_TEXT);
while (walk.nextNode()) {
  const node = walk.currentNode.parentElement, text = walk.currentNode.data.trim();
  if (!text || !node.checkVisibility() || node.closest('script, style, :disabled')) continue;
  const style = getComputedStyle(node), drawn = node.namespaceURI.endsWith('svg');
  const [a, b] = [shade(drawn ? style.fill : style.color).light, ground(node)];
  found.push([(Math.max(a, b) + .05) / (Math.min(a, b) + .05), text]);
}
return found.sort((a, b) => a[0] - b[0]);
"""


def require() -> tuple[str, str]:
    """Where browser and driver are. Skips where that was asked for, fails where one is missing."""
    if os.environ.get("SKIP_BROWSER") == "1":
        pytest.skip("SKIP_BROWSER=1: no page was opened in a browser")
    browser, driver = (shutil.which(name) for name in NEEDED)
    if not browser or not driver:
        pytest.fail(
            "no chromium or chromedriver: sudo apt-get install chromium chromium-driver, or set "
            "SKIP_BROWSER=1"
        )
    return browser, driver


class Browser:
    """One window. Every page is opened from disk, and the window has no network."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def show(
        self, page: Path, *, dark: bool = False, width: int = 1280, height: int = 900, at: str = ""
    ) -> None:
        """Open the page anew in a window of that many pixels, at `#at` if there is one."""
        self.tell("Network.enable")
        self.tell("Network.emulateNetworkConditions", offline=True, latency=0,
                  downloadThroughput=-1, uploadThroughput=-1)  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.tell("Emulation.setEmulatedMedia", features=[scheme])
        self.tell("Emulation.setDeviceMetricsOverride", width=width, height=height,
                  deviceScaleFactor=1, mobile=False)  # fmt: skip
        self.driver.get("about:blank")  # a page that differs by its hash only is not read again
        self.errors()
        self.driver.get(page.as_uri() + (f"#{at}" if at else ""))
        self.wait("return document.querySelectorAll('section.task figure svg').length > 0")
        if at:
            self.wait("return document.querySelector('dialog').open")

    def tell(self, command: str, **options: Any) -> Any:
        """A command of the Chrome DevTools Protocol."""
        return self.driver.execute_cdp_cmd(command, options)

    def run(self, script: str, *values: Any) -> Any:
        """What the script returns, run in the page."""
        return self.driver.execute_script(script, *values)

    def wait(self, script: str) -> Any:
        """Until it returns something true, which is given back; until then it may fail."""
        patient = WebDriverWait(self.driver, PATIENCE, 0.02, [JavascriptException])
        return patient.until(lambda _: self.run(script), script)

    def press(self, *keys: str) -> None:
        """Press keys, one after the other, on whatever has the focus."""
        for key in keys:
            ActionChains(self.driver).send_keys(key).perform()

    def contrasts(self, selector: str) -> list[tuple[float, str]]:
        """Of every visible text in an element that of its ink and its ground, the weakest first."""
        return [(ratio, text) for ratio, text in self.run(CONTRASTS, selector)]

    def errors(self, least: int = 0) -> list[str]:
        """What the console has had to say since the last call; it says it a little later, so that
        who expects something waits for so many."""
        found: list[str] = []
        until = time.monotonic() + 10
        while True:
            found += [entry["message"] for entry in self.driver.get_log("browser")]
            if len(found) >= least or time.monotonic() > until:
                return found
            time.sleep(0.05)


@contextmanager
def browsing() -> Iterator[Browser]:
    """A browser; gone at the end."""
    browser, driver = require()
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    # Without a sandbox, as root and containers need it: only pages of these tests are opened.
    for word in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--no-first-run"):
        options.add_argument(word)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    window = webdriver.Chrome(options=options, service=Service(driver))
    try:
        yield Browser(window)
    finally:
        window.quit()
