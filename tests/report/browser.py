"""A headless Chromium, driven by the few commands of the WebDriver protocol that the tests need."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from conftest import PATIENCE

FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage"),
)
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"


def missing() -> str:
    """Return why no browser can be started; "" where one can."""
    absent = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
    return f"not found: {', '.join(absent)} (Debian: apt-get install chromium chromium-driver)" if absent else ""


class Browser:
    """One session: pages opened, scripts run in them, keys pressed, what the console said."""

    def __init__(self, session: str) -> None:
        self.session = session

    def open(self, path: Path) -> list[str]:
        """Open a file and return what its console said."""
        self.said()
        _post(f"{self.session}/url", {"url": path.resolve().as_uri()})
        return self.said()

    def said(self) -> list[str]:
        """Return what the console said since this was last asked."""
        return [entry["message"] for entry in _post(f"{self.session}/se/log", {"type": "browser"})]

    def run(self, script: str, *arguments: Any) -> Any:
        """Return what the body of a function returns in the page."""
        return _post(f"{self.session}/execute/sync", {"script": script, "args": list(arguments)})

    def click(self, css: str) -> None:
        """Click the first element that a selector finds, as with a mouse: it must be there to be seen."""
        _post(f"{self._element(css)}/click", {})

    def type(self, css: str, text: str) -> None:
        """Clear a field and type into it."""
        _post(f"{self._element(css)}/clear", {})
        _post(f"{self._element(css)}/value", {"text": text})

    def press(self, key: str) -> None:
        """Press a key where the focus is."""
        strokes = [{"type": kind, "value": key} for kind in ("keyDown", "keyUp")]
        _post(f"{self.session}/actions", {"actions": [{"type": "key", "id": "keys", "actions": strokes}]})

    def emulate(self, command: str, **values: Any) -> None:
        """Send a command of the browser's ``Emulation``: another medium, another screen."""
        _post(f"{self.session}/goog/cdp/execute", {"cmd": f"Emulation.{command}", "params": values})

    def _element(self, css: str) -> str:
        found = _post(f"{self.session}/element", {"using": "css selector", "value": css})
        return f"{self.session}/element/{found[ELEMENT]}"


@contextmanager
def browser(profile: Path) -> Iterator[Browser]:
    """Start driver and browser, with an empty folder for the browser's profile; end both."""
    command = [str(shutil.which("chromedriver")), "--port=0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as driver:
        try:
            address = f"http://127.0.0.1:{_port(driver)}"
            options = {"binary": shutil.which("chromium"), "args": [*FLAGS, f"--user-data-dir={profile}"]}
            asked = {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
            started = _post(f"{address}/session", {"capabilities": {"alwaysMatch": asked}})
            session = f"{address}/session/{started['sessionId']}"
            try:
                yield Browser(session)
            finally:
                _send(urllib.request.Request(session, method="DELETE"))
        finally:
            driver.terminate()


def _port(driver: subprocess.Popen[str]) -> str:
    assert driver.stdout is not None
    for line in driver.stdout:
        if found := re.search(r"started successfully on port (\d+)", line):
            return found[1]
    raise RuntimeError("chromedriver ended before it named its port")


def _post(address: str, body: dict[str, Any]) -> Any:
    return _send(urllib.request.Request(address, json.dumps(body).encode(), {"Content-Type": "application/json"}))


def _send(request: urllib.request.Request) -> Any:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=PATIENCE) as answer:
            return json.load(answer)["value"]
    except urllib.error.HTTPError as error:
        with error:
            raise RuntimeError(json.load(error)["value"]["message"]) from None
