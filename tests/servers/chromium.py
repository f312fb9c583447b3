"""Debian's Chromium, driven by Selenium, for what only a browser can tell."""

from __future__ import annotations

import os
from pathlib import Path

from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service

from tests.servers.process import find_program

WIDTH, HEIGHT = 1280, 900

# Seconds a page may take to load; on loopback only a broken one takes longer.
PAGE_SECONDS = 30

FLAGS = (
    "--headless",
    "--no-sandbox",  # the sandbox does not work as root
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    # Nothing but the page under test: no updates, no sync, no background connections.
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    f"--window-size={WIDTH},{HEIGHT}",
)


def start_chromium(directory: Path, *more_flags: str) -> Chrome:
    """Start a headless browser with an empty profile in ``directory``; the caller quits it.

    Every call of the driver blocks the thread: a server in this very process cannot answer the
    browser meanwhile, so let it run in a process of its own.
    """
    directory.mkdir(parents=True, exist_ok=True)
    options = ChromeOptions()
    options.binary_location = find_program("chromium")
    for flag in (*FLAGS, *more_flags):
        options.add_argument(flag)
    options.add_argument(f"--user-data-dir={directory}")
    service = Service(
        executable_path=find_program("chromedriver"),
        log_output=str(directory / "driver.log"),
        # Of whoever runs the tests, pages would show the days and hours of his time zone.
        env={**os.environ, "TZ": "UTC"},
    )
    browser = Chrome(options=options, service=service)
    browser.set_page_load_timeout(PAGE_SECONDS)
    browser.set_window_size(WIDTH, HEIGHT)
    return browser
