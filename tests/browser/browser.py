"""A Chromium that a test drives, by selenium."""

import base64
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

AXE: Final = Path(__file__).parent / "axe" / "axe.min.js"
DESK: Final = (1360, 900)
PHONE: Final = (390, 844)
_PROGRAMS: Final = (("chromium", "chromium-browser", "google-chrome"), ("chromedriver",))
_OPTIONS: Final = (
    "--headless=new",
    "--no-sandbox",  # CI is root
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--no-first-run",
    "--disable-background-networking",
    "--force-color-profile=srgb",
)
_AXE_RUN: Final = """
const done = arguments[arguments.length - 1];
axe.run(document, {resultTypes: ["violations"]}).then(
  (found) => done(found.violations.map((one) => ({
    id: one.id, impact: one.impact,
    nodes: one.nodes.map((node) => node.html + " " + node.failureSummary)}))),
  (error) => done([{id: String(error), impact: "critical", nodes: []}]));
"""


def programs() -> tuple[str, str] | None:
    """Chromium and its driver; None if they are not installed."""
    found = [next(filter(None, map(shutil.which, names)), None) for names in _PROGRAMS]
    chromium, driver = found
    return None if chromium is None or driver is None else (chromium, driver)


class Browser:
    """A browser with one page.

    Attributes:
        driver: of selenium.
        url: of the gateway whose page it shows.
    """

    def __init__(self, driver: Chrome) -> None:
        """Drive it with `driver`."""
        self.driver = driver
        self.url = ""

    def open(
        self, url: str, view: str = "", *, size: tuple[int, int] = DESK, is_dark: bool = False
    ) -> None:
        """Open the page of the gateway at `url`, as if for the first time."""
        self.url = url
        width, height = size
        self.driver.get("about:blank")
        self.driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": size == PHONE},
        )
        self.prefer(is_dark=is_dark)
        self._logged()  # forgets what was logged before
        self.driver.get(f"{url}/#{view}")

    def prefer(self, *, is_dark: bool) -> None:
        """Have the system prefer dark or light colours."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if is_dark else "light"}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})

    def one(self, selector: str) -> WebElement:
        """The first element that a CSS selector finds, once there is one."""
        found: WebElement = self.until(
            lambda: next(iter(self.driver.find_elements(By.CSS_SELECTOR, selector)), None),
            what=selector,
        )
        return found

    def all(self, selector: str) -> list[WebElement]:
        """The elements that a CSS selector finds now."""
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def text(self, selector: str = "main") -> str:
        """What is shown within an element; empty if it is not there."""
        found: str = self.driver.execute_script(
            "return document.querySelector(arguments[0])?.innerText ?? ''", selector
        )
        return found

    def until(
        self, look: Callable[[], Any], timeout_s: float = 30.0, *, what: str = "what is to be seen"
    ) -> Any:
        """Wait until `look` finds something."""
        wait = WebDriverWait(
            self.driver, timeout_s, 0.05, ignored_exceptions=[StaleElementReferenceException]
        )
        return wait.until(lambda _: look(), f"not within {timeout_s:g} s: {what}")

    def until_text(self, words: str, selector: str = "main", timeout_s: float = 30.0) -> None:
        """Wait until some words are shown within an element."""
        self.until(lambda: words in self.text(selector), timeout_s, what=f"{words} in {selector}")

    def button(self, name: str) -> WebElement:
        """The button that is shown with these words."""
        found: WebElement = self.until(
            lambda: next(
                (one for one in self.all("button") if one.text == name and one.is_displayed()), None
            ),
            what=f"button {name}",
        )
        return found

    def run(self, script: str, *arguments: Any) -> Any:
        """Run a script in the page."""
        return self.driver.execute_script(script, *arguments)

    def focused(self) -> WebElement:
        """The element that has the focus."""
        return self.driver.switch_to.active_element

    def complaints(self) -> list[str]:
        """What the console has shown since the page was opened, but for information."""
        return [one["message"] for one in self._logged() if one["level"] in {"SEVERE", "WARNING"}]

    def _logged(self) -> list[dict[str, str]]:
        logged: list[dict[str, str]] = self.driver.get_log("browser")  # type: ignore[no-untyped-call] # selenium's
        return logged

    def axe(self) -> list[Any]:
        """What axe-core finds serious or critical in what is shown now."""
        # By the debugger's interface, which the page's policy does not bind.
        self.driver.execute_cdp_cmd(
            "Runtime.evaluate", {"expression": AXE.read_text(encoding="utf-8")}
        )
        found = self.driver.execute_async_script(_AXE_RUN)
        return [one for one in found if one["impact"] in {"serious", "critical"}]

    def screenshot(self, path: Path, *, is_whole: bool = True) -> None:
        """Write what is shown to a PNG: the whole page, or what fits the window."""
        width, height = self.run(
            "return [innerWidth, arguments[0] ? document.documentElement.scrollHeight"
            " : innerHeight]",
            is_whole,
        )
        clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
        taken = self.driver.execute_cdp_cmd(
            "Page.captureScreenshot", {"captureBeyondViewport": is_whole, "clip": clip}
        )
        path.write_bytes(base64.b64decode(taken["data"]))


@contextmanager
def running_browser() -> Iterator[Browser]:
    """A browser for the block.

    Raises:
        RuntimeError: there is none.
    """
    found = programs()
    if found is None:
        raise RuntimeError("Chromium and chromedriver are not installed")
    chromium, driver = found
    options = ChromeOptions()
    options.binary_location = chromium
    for option in _OPTIONS:
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    chrome = Chrome(options=options, service=Service(driver))
    try:
        chrome.set_script_timeout(30)
        yield Browser(chrome)
    finally:
        chrome.quit()
