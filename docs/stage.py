"""What pictures are taken with: a browser that looks at a dashboard, a terminal, programs in the background.

In: programs of this environment.  Out: their processes, PNG files, what they printed.  Knows no pictures.
"""

from __future__ import annotations

import contextlib
import os
import pty
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from selenium import webdriver

_ERASED = re.compile(r"\r?\x1b\[2K(?:\x1b\[1A\x1b\[2K)*")
"""What rich writes before it draws lines anew."""


class Browser:
    """Headless Chromium that reaches nothing but this machine; a context manager."""

    def __init__(self, width: int = 1400, height: int = 820) -> None:
        """Nothing is started; ``width`` and ``height`` are pixels of the window."""
        self._size = width, height

    def __enter__(self) -> Self:
        options = webdriver.ChromeOptions()
        flags = "headless=new no-sandbox disable-gpu hide-scrollbars no-first-run disable-background-networking"
        for flag in (*flags.split(), "window-size={},{}".format(*self._size)):
            options.add_argument(f"--{flag}")
        options.binary_location = shutil.which("chromium") or ""
        service = webdriver.ChromeService(shutil.which("chromedriver") or "")
        self._driver = webdriver.Chrome(options=options, service=service)
        return self

    def __exit__(self, *_: object) -> None:
        self._driver.quit()

    def open(self, address: str, seconds: float = 8.0) -> None:
        """Open a page, and wait until it is drawn."""
        self._driver.get(address)
        time.sleep(seconds)

    def choose(self, model: str, title: str, value: object, seconds: float = 5.0) -> None:
        """Set a widget of the page.

        Args:
            model: name of Bokeh's class.
            title: how the widget's title begins.
            value: what it is set to.
            seconds: to wait for the page.
        """
        script = """
            for (const document of Bokeh.documents) for (const model of document._all_models.values())
                if (model.type == arguments[0] && model.title.startsWith(arguments[1])) model.value = arguments[2];"""
        self._driver.execute_script(script, model, title, value)
        time.sleep(seconds)

    def take(self) -> bytes:
        """The window as PNG."""
        picture: bytes = self._driver.get_screenshot_as_png()
        return picture

    def save(self, path: Path, height: int | None = None) -> None:
        """The window as a PNG file, ``height`` pixels of it from the top."""
        width, whole = self._size
        self._driver.set_window_size(width, height or whole)
        time.sleep(2)
        path.write_bytes(self.take())
        self._driver.set_window_size(width, whole)


def start(module: str, *arguments: str, folder: Path, **environment: str) -> subprocess.Popen[bytes]:
    """Start a module of this environment in the background; what it says is kept in the folder."""
    command = [sys.executable, "-m", module, *arguments]
    with (folder / f"{module.rpartition('.')[2]}.log").open("ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, env={**os.environ, **environment})


def run(module: str, *arguments: object) -> None:
    """Run a module of this environment."""
    subprocess.run([sys.executable, "-m", module, *map(str, arguments)], check=True)


def run_in_terminal(command: Sequence[str], folder: Path, columns: int = 90) -> tuple[str, list[str]]:
    """What a program prints to a terminal: what stays, and all that was drawn over, as text with colours."""
    master, slave = pty.openpty()
    environment = {**os.environ, "COLUMNS": str(columns), "LINES": "30", "TERM": "xterm-256color"}
    process = subprocess.Popen(command, cwd=folder, stdout=slave, stderr=slave, env=environment)
    os.close(slave)
    chunks = []
    with contextlib.suppress(OSError):  # that is how a terminal ends
        while chunk := os.read(master, 65536):
            chunks.append(chunk)
    process.wait()
    drawn = _ERASED.split(b"".join(chunks).decode().replace("\r\n", "\n"))
    return drawn[-1], drawn[:-1]
