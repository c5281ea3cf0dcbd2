"""A person at the browser: logs in, opens pages, reads and clicks; keeps pictures, and every address that was asked.

Debian's Chromium, driven by Playwright. PICTURES=FOLDER keeps the screenshots there (they illustrate docs/).
"""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Page, expect, sync_playwright

from tests import door
from tests.e2e.site import Site

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DESKTOP, LAPTOP = (1440, 1000), (1100, 760)
_FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-default-apps",
)  # fmt: skip
_PATIENCE_MS = 120_000


class Browser:
    """One logged-in window, and what it asked of whom."""

    def __init__(self, site: Site, page: Page, pictures: Path) -> None:
        self.site = site
        self.page = page
        self.pictures = pictures
        self.asked: list[str] = []
        page.context.on("request", lambda request: self.asked.append(request.url))

    @property
    def strays(self) -> list[str]:
        """Addresses that were asked and are not on this machine."""
        return [url for url in self.asked if urlsplit(url).hostname not in ("127.0.0.1", "localhost", None)]

    def log_in(self, secret: str = door.CREDENTIAL.pair) -> None:
        """Give Prefect's page the secret."""
        self.page.goto(f"{self.site.stack.prefect_ui_url}/v2/login")
        self.page.get_by_placeholder("admin:pass").fill(secret)
        self.page.get_by_role("button", name="Login").click()

    def prefect(self, path: str, *words: str) -> str:
        """Open a page of Prefect and wait for words on it; returns its HTML."""
        return self.open(f"{self.site.stack.prefect_ui_url}/v2/{path}", *words)

    def mlflow(self, path: str, *words: str) -> str:
        """Open a page of MLflow and wait for words on it; returns its HTML."""
        return self.open(f"{self.site.mlflow_uri}/#/{path}", *words)

    def open(self, address: str, *words: str) -> str:
        """Open a page and wait until it shows all of these words."""
        self.page.goto("about:blank")  # an address that differs behind the '#' alone would not load anew
        self.page.goto(address, wait_until="domcontentloaded")
        return self.see(*words)

    def see(self, *words: str) -> str:
        """Wait until the page shows all of these words; returns its HTML."""
        for word in words:
            expect(self.page.locator("body")).to_contain_text(word, timeout=_PATIENCE_MS)
        return self.page.content()

    def picture(self, name: str) -> None:
        """Keep the page as it is now, at desktop and at laptop width."""
        for suffix, (width, height) in (("", DESKTOP), ("-laptop", LAPTOP)):
            self.page.set_viewport_size({"width": width, "height": height})
            self.page.wait_for_timeout(400)  # charts and tables take their new width
            self.page.screenshot(path=self.pictures / f"{name}{suffix}.png")
        self.page.set_viewport_size({"width": DESKTOP[0], "height": DESKTOP[1]})


@contextmanager
def open_browser(site: Site, folder: Path) -> Iterator[Browser]:
    """A window with nothing in it; it closes with the block."""
    pictures = Path(os.environ.get("PICTURES") or folder)
    pictures.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=list(_FLAGS))
        credentials: Any = {
            "username": door.CREDENTIAL.user, "password": door.CREDENTIAL.password, "origin": site.mlflow_uri
        }  # fmt: skip
        context = chromium.new_context(
            viewport={"width": DESKTOP[0], "height": DESKTOP[1]}, http_credentials=credentials, locale="en-GB"
        )
        context.set_default_timeout(_PATIENCE_MS)
        try:
            yield Browser(site, context.new_page(), pictures)
        finally:
            context.close()
            chromium.close()


@contextmanager
def logged_in(site: Site, folder: Path) -> Iterator[Browser]:
    """A window that has logged in; nothing it shows until the block ends may ask beyond this machine."""
    with open_browser(site, folder) as window:
        window.log_in()
        window.see("Flow Runs")
        yield window
        assert window.strays == []
        assert len(window.asked) > 50, "the list of what was asked is empty: the watch is broken"


def words_of(html: str) -> str:
    """What a page says, without its markup."""
    return re.sub(r"<(script|style)\b.*?</\1>|<[^>]*>", " ", html, flags=re.DOTALL)
