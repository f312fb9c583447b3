"""`watchducks demo`, as `make run` starts it, and what a person reads off its pages."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from pathlib import Path
from typing import Any

from selenium.webdriver import Chrome

from tests.servers.waiting import wait_until
from tests.system.appliance import BIN


class Demo:
    """`watchducks demo` in a directory of its own, and what it printed."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        # Own process group, so that Ctrl-C can be sent as a terminal does.
        self.process = subprocess.Popen(
            [BIN / "watchducks", "demo", "--dir", directory],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self.said = ""
        assert self.process.stdout is not None
        os.set_blocking(self.process.stdout.fileno(), False)
        wait_until(self._has_told, f"the demo to tell what to try: {self.said}", 90)

        def number(pattern: str) -> int:
            found = re.search(pattern, self.said)
            assert found, self.said
            return int(found[1])

        self.dns = number(r"dig @127\.0\.0\.1 -p (\d+) www\.demo\.test")
        self.http = number(r"--resolve www\.demo\.test:(\d+):127\.0\.0\.1 http:")
        self.https = number(r"--resolve www\.demo\.test:(\d+):127\.0\.0\.1 https:")
        self.console = number(r"http://127\.0\.0\.1:(\d+)/sites/demo")
        self.origin = number(r"http://127\.0\.0\.2:(\d+) or")
        self.origin_tls = number(r"https://127\.0\.0\.2:(\d+)")

    def _has_told(self) -> bool:
        assert self.process.stdout is not None
        self.said += (self.process.stdout.read() or b"").decode()
        assert self.process.poll() is None, self.said
        return "Ctrl-C" in self.said

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.console}"

    def log(self) -> str:
        return (self.directory / "watchducks.log").read_text()

    def press_ctrl_c(self) -> int:
        os.killpg(self.process.pid, signal.SIGINT)
        return self.process.wait(30)


def requests_shown(chromium: Chrome) -> int:
    """Return the number on the card of requests, as the page shows it."""
    # In one step: the page may be loading anew.
    script = "return document.querySelector('[data-total=requests]')?.textContent"
    return int(re.sub(r"\D", "", chromium.execute_script(script) or "") or 0)


# Labels and grid lines are grey; what has a colour is the data.
MIN_DRAWN_PIXELS = 80


def drawn_pixels(chromium: Chrome) -> int:
    """Return how many coloured pixels the chart with the fewest has; 0: not all are there."""
    script = """
        const charts = [...document.querySelectorAll(".uplot canvas")];
        if (charts.length < 4) return 0;
        return Math.min(...charts.map((canvas) => {
            if (!canvas.width) return 0;
            const {data} = canvas.getContext("2d")
                .getImageData(0, 0, canvas.width, canvas.height);
            let count = 0;
            for (let i = 0; i < data.length; i += 4) {
                const strong = Math.max(data[i], data[i + 1], data[i + 2])
                    - Math.min(data[i], data[i + 1], data[i + 2]) > 60;
                if (data[i + 3] > 127 && strong) count++;
            }
            return count;
        }));
    """
    found: Any = chromium.execute_script(script)
    return int(found)
