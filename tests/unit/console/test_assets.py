"""The web bundle: names, content types, caching, and a tree in which it was not built."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.web.server import Site

from tests.unit.console.driver import Reply, parse_reply
from watchducks.background import Turns
from watchducks.console.answers import Answers
from watchducks.console.assets import Assets, Bundle
from watchducks.console.http import ConsoleSite
from watchducks.console.languages import Languages

SCRIPT = b"let x = 1;" * 100


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    """Return a bundle as Vite writes one."""
    assets = tmp_path / "assets"
    assets.mkdir()
    (assets / "main-1.js").write_bytes(SCRIPT)
    (assets / "main-2.css").write_bytes(b"body {}")
    (assets / "notes-3.txt").write_bytes(b"not served")
    manifest = {
        "src/main.ts": {
            "file": "assets/main-1.js",
            "css": ["assets/main-2.css"],
            "assets": ["assets/notes-3.txt"],
        }
    }
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    return Bundle(tmp_path)


def ask(bundle: Bundle, path: str, method: str = "GET", **headers: str) -> tuple[Reply, bytes]:
    answers = Answers(Languages(), lambda *_: "a page")
    clock: Any = MemoryReactorClock()
    assets = Assets(bundle, answers)
    site: Site = ConsoleSite(assets, answers, "http://x", Turns(clock), reactor=clock)
    protocol: Any = site.buildProtocol(None)
    transport = StringTransport()
    protocol.makeConnection(transport)
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    protocol.dataReceived(f"{method} {path} HTTP/1.1\r\nHost: x\r\n{lines}\r\n".encode())
    clock.advance(0)
    return parse_reply(transport.value(), method), transport.value()


def test_files_are_kept_for_ever_under_names_that_change(bundle: Bundle) -> None:
    assert bundle.url("src/main.ts") == "/static/assets/main-1.js"
    assert bundle.url("src/main.css") == "/static/assets/main-2.css"
    assert bundle.url("src/other.ts") is None
    reply, _ = ask(bundle, "/static/assets/main-1.js")
    assert (reply.status, reply.body) == (200, SCRIPT)
    assert reply.headers["content-type"] == "text/javascript; charset=utf-8"
    assert reply.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert "content-encoding" not in reply.headers


def test_files_are_sent_compressed_to_who_takes_it(bundle: Bundle) -> None:
    reply, raw = ask(bundle, "/static/assets/main-1.js", Accept_Encoding="br, gzip")
    assert reply.body == SCRIPT
    assert raw.endswith(gzip.compress(SCRIPT, 9, mtime=0))
    head, _ = ask(bundle, "/static/assets/main-1.js", "HEAD", Accept_Encoding="gzip")
    assert head.headers["content-length"] == reply.headers["content-length"]


@pytest.mark.parametrize(
    "path",
    ["/static/", "/static/manifest.json", "/static/assets/notes-3.txt", "/static/../setup.cfg",
     "/static/%2e%2e/x", "/static//etc/passwd"],
)  # fmt: skip
def test_nothing_else_is_served(bundle: Bundle, path: str) -> None:
    assert ask(bundle, path)[0].status == 404


def test_a_tree_without_a_bundle_has_no_addresses(tmp_path: Path) -> None:
    assert Bundle(tmp_path).url("src/main.ts") is None
