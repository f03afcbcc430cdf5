"""Headless Chromium that reaches nothing but this machine, and what it has to tell."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from typing import Any

from selenium import webdriver

_FLAGS = [
    "headless=new",
    "no-sandbox",
    "disable-gpu",
    "hide-scrollbars",
    "no-first-run",
    "disable-background-networking",
    "disable-dev-shm-usage",
    "window-size=1400,820",
]


def is_there() -> bool:
    """Whether Chromium and its driver are installed."""
    return bool(shutil.which("chromium") and shutil.which("chromedriver"))


@contextlib.contextmanager
def open_browser() -> Iterator[webdriver.Chrome]:
    """A browser for the time of a ``with`` block; it keeps what its console says and what it asks for."""
    options = webdriver.ChromeOptions()
    for flag in _FLAGS:
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    options.binary_location = shutil.which("chromium") or ""
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver") or ""))
    try:
        yield browser
    finally:
        browser.quit()


def set_size(browser: webdriver.Chrome, width: int, height: int) -> None:
    """A window of a desktop, or the screen of a phone if it is narrow."""
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def read_complaints(browser: webdriver.Chrome) -> list[str]:
    """Warnings and errors of the console since the last call, breaches of the page's policy among them."""
    return [entry["message"] for entry in browser.get_log("browser") if entry["level"] in ("WARNING", "SEVERE")]


def read_requests(browser: webdriver.Chrome) -> list[str]:
    """Addresses that the page asked for since the last call."""
    messages: list[dict[str, Any]] = [
        json.loads(entry["message"])["message"] for entry in browser.get_log("performance")
    ]
    return [
        message["params"]["request"]["url"] for message in messages if message["method"] == "Network.requestWillBeSent"
    ]
