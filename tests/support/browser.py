"""A real Chromium, driven as a person does: by what is seen, by keys, by clicks.

It also keeps what a person does not see: every request that a page makes, and every violation of
its security policy.
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Literal, TypeVar

from selenium import webdriver
from selenium.common.exceptions import (
    NoAlertPresentException,
    StaleElementReferenceException,
)
from selenium.webdriver import ChromeOptions, ChromeService
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from tests.cluster import packages
from tests.support.servers import binary

PACKAGES = ("chromium", "chromium-driver", "fonts-inter")
SECONDS = 120.0
_INTERVAL = 0.05
_WATCH = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) => {
  window.violations.push(`${event.violatedDirective} ${event.blockedURI}`);
});
"""
Found = TypeVar("Found")


@dataclass(frozen=True)
class Request:
    """One request that the page made; `failed` where no answer came."""

    method: str
    url: str
    headers: dict[str, str]
    body: str


class Browser:
    """One window; `width` and `height` are in CSS pixels."""

    def __init__(self, *, width: int = 1280, height: int = 860) -> None:
        packages.ensure(PACKAGES)
        options = ChromeOptions()
        options.binary_location = str(binary("chromium", "chromium", "usr/bin"))
        for argument in (
            "--headless=new",
            "--no-sandbox",
            "--disable-dev-shm-usage",
            "--disable-gpu",
            "--disable-background-networking",
            "--hide-scrollbars",
            "--lang=en-US",
        ):
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
        driver = binary("chromedriver", "chromium-driver", "usr/bin")
        self.driver = webdriver.Chrome(options, ChromeService(str(driver)))
        self.driver.set_script_timeout(60)
        self.command("Page.addScriptToEvaluateOnNewDocument", source=_WATCH)
        self.command("Emulation.setTimezoneOverride", timezoneId="UTC")
        self.resize(width, height)
        self._requests: list[Request] = []

    def close(self) -> None:
        """End the browser."""
        self.driver.quit()

    def command(self, name: str, **parameters: Any) -> Any:
        """Send a command of the DevTools protocol."""
        return self.driver.execute_cdp_cmd(name, parameters)

    def resize(self, width: int, height: int) -> None:
        """Give the page so many CSS pixels, as a screen of that size does."""
        self.command(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    def prefer(self, scheme: Literal["light", "dark"], *, motion: bool = True) -> None:
        """Set what the system prefers."""
        reduced = "no-preference" if motion else "reduce"
        features = [
            {"name": "prefers-color-scheme", "value": scheme},
            {"name": "prefers-reduced-motion", "value": reduced},
        ]
        self.command("Emulation.setEmulatedMedia", features=features)

    def open(self, url: str) -> None:
        """Open an address anew, with nothing that an earlier page stored or violated."""
        origin = url.split("/", 3)
        self.command("Storage.clearDataForOrigin", origin="/".join(origin[:3]), storageTypes="all")
        self.driver.get("about:blank")
        self._log("browser")
        self.driver.get(url)

    def run(self, script: str, *arguments: Any) -> Any:
        """Run a script in the page and return what it returns."""
        return self.driver.execute_script(script, *arguments)

    def run_async(self, script: str, *arguments: Any) -> Any:
        """Run a script that calls its last argument with its result."""
        return self.driver.execute_async_script(script, *arguments)

    def all(self, selector: str) -> list[WebElement]:
        """Return what the selector finds now."""
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def one(self, selector: str, text: str = "") -> WebElement:
        """Return the first visible element of the selector whose text has `text`, once there."""
        what = f"{selector} with {text!r}" if text else selector

        def found() -> WebElement | None:
            shown = (element for element in self.all(selector) if element.is_displayed())
            return next((e for e in shown if text in e.text), None)

        return self.wait(found, f"{what} is shown")

    def click(self, selector: str, text: str = "") -> None:
        """Click an element once it is there."""
        self.one(selector, text).click()

    def write(self, selector: str, text: str) -> None:
        """Write text into a field."""
        field = self.one(selector)
        field.clear()
        field.send_keys(text)

    def press(self, *keys: str) -> None:
        """Press keys, one after the other, wherever the focus is."""
        actions = ActionChains(self.driver)
        for key in keys:
            actions.send_keys(key)
        actions.perform()

    def gone(self, selector: str, text: str = "") -> None:
        """Return once no visible element of the selector has the text."""
        self.wait(
            lambda: not any(e.is_displayed() and text in e.text for e in self.all(selector)),
            f"{selector} with {text!r} is gone",
        )

    def wait(self, condition: Callable[[], Found | None], what: str) -> Found:
        """Return what the condition returns once that is true; fail after a while."""
        end = time.monotonic() + SECONDS
        while True:
            try:
                result = condition()
            except StaleElementReferenceException:
                result = None
            if result:
                return result
            if time.monotonic() > end:
                raise AssertionError(
                    f"not within {SECONDS:g} s: {what}\n{self.text()[:2000]}\n"
                    f"The browser says: {self._log('browser')[-10:]}"
                )
            time.sleep(_INTERVAL)

    def text(self) -> str:
        """Return all that can be read on the page."""
        return str(self.run("return document.body.innerText"))

    def focused(self) -> WebElement:
        """Return the element that has the focus."""
        return self.driver.switch_to.active_element

    def dialog(self) -> str | None:
        """Return the text of an alert that a script opened, None where there is none."""
        try:
            return self.driver.switch_to.alert.text
        except NoAlertPresentException:
            return None

    def violations(self) -> list[str]:
        """Return what the page's policy kept from happening."""
        reported = self.run("return window.violations")
        logged = [
            entry["message"]
            for entry in self._log("browser")
            if "Content Security Policy" in entry["message"] or "TrustedScript" in entry["message"]
        ]
        return [*reported, *logged]

    def requests(self) -> list[Request]:
        """Return every request that pages of this browser have made."""
        for entry in self._log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                sent = message["params"]["request"]
                self._requests.append(
                    Request(sent["method"], sent["url"], sent["headers"], sent.get("postData", ""))
                )
        return self._requests

    def _log(self, kind: str) -> list[dict[str, Any]]:
        entries: list[dict[str, Any]] = self.driver.get_log(kind)  # type: ignore[no-untyped-call]  # selenium
        return entries

    def faults_of_accessibility(self) -> list[str]:
        """Return what axe finds wrong for people with disabilities (WCAG 2.1, A and AA)."""
        axe = resources.files("axe_core_python").joinpath("axe.min.js").read_text()
        self.run(axe)
        result = self.run_async(
            "const done = arguments[0];"
            "axe.run({runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'best-practice']})"
            ".then(done, (error) => done({error: String(error)}));"
        )
        assert "error" not in result, result
        return [
            f"{rule['id']}: {node['html'][:200]} {node['failureSummary'][:300]}"
            for rule in result["violations"]
            for node in rule["nodes"]
        ]

    def picture(self, path: Path) -> None:
        """Write what is seen into a PNG file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self.driver.save_screenshot(str(path))
