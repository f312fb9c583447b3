"""A real browser through the proxy: HTTP/2, many requests at once, an upload, events, WebSocket."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from selenium.webdriver import Chrome
from twisted.internet.threads import deferToThread

from tests.servers.chromium import start_chromium
from tests.wire.origin import OriginSide
from tests.wire.proxying import HOST, running
from tests.wire.test_proxy_websocket import EchoServer

RESOURCES = 40
UPLOAD = 1_000_000

PAGE = b"<!doctype html><meta charset=utf-8><title>ducks</title><link rel=icon href=data:,>"

# Resolves with what a page can tell of its own requests.
SCRIPT = """
const done = arguments[arguments.length - 1];
const [resources, upload] = arguments;
const events = () => new Promise((resolve, reject) => {
  const seen = [];
  const source = new EventSource("/events");
  source.onmessage = (event) => {
    seen.push(event.data);
    if (seen.length === 3) { source.close(); resolve(seen); }
  };
  source.onerror = () => reject(new Error("events"));
});
const socket = () => new Promise((resolve, reject) => {
  const connection = new WebSocket(`wss://${location.host}/chat`, "chat");
  connection.onopen = () => connection.send("quack");
  connection.onmessage = (event) => { connection.close(); resolve(event.data); };
  connection.onerror = () => reject(new Error("socket"));
});
(async () => {
  const texts = await Promise.all(
    Array.from({ length: resources }, async (_, i) => (await fetch(`/r/${i}?q=%C3%A9`)).text()),
  );
  const sent = await fetch("/up", { method: "POST", body: new Uint8Array(upload).fill(7) });
  const protocols = performance.getEntriesByType("resource").map((entry) => entry.nextHopProtocol);
  return {
    texts,
    uploaded: await sent.text(),
    protocols: [...new Set(protocols)],
    events: await events(),
    echo: await socket(),
  };
})().then(done, (error) => done({ error: String(error) }));
"""


def answer(side: OriginSide, head: bytes) -> None:
    target = head.split(b" ")[1]
    if target == b"/chat":
        EchoServer(side, head)
    elif target == b"/events":
        side.send(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n"
        )
        for number in range(3):
            event = b"data: %d\n\n" % number
            side.send(b"%x\r\n%b\r\n" % (len(event), event))
    elif target == b"/up":

        def more() -> None:
            if len(side.extra) >= UPLOAD:
                right = side.extra == bytes([7]) * UPLOAD
                side.on_extra = lambda: None
                side.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%d" % right)

        side.on_extra = more
    else:
        body = PAGE if target == b"/" else target
        side.send(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n%b"
            % (len(body), body)
        )


def visit(directory: Path, port: int) -> dict[str, Any]:
    """Open the page in a browser and run the script there. Blocks; for a thread."""
    browser: Chrome = start_chromium(
        directory,
        f"--host-resolver-rules=MAP {HOST} 127.0.0.1",
        "--ignore-certificate-errors",  # the authority is the test's own
    )
    try:
        browser.set_script_timeout(30)
        browser.get(f"https://{HOST}:{port}/")
        assert browser.title == "ducks"
        found: dict[str, Any] = browser.execute_async_script(SCRIPT, RESOURCES, UPLOAD)
        return found
    finally:
        browser.quit()


@pytest.mark.timeout(90)
@pytest_twisted.ensureDeferred
async def test_a_browser_gets_everything_over_http2(tmp_path: Path) -> None:
    async with running(answer) as run:
        run.certificates.hold(run.authority, HOST)
        found = await deferToThread(visit, tmp_path / "profile", run.https_port)
        assert found.get("error") is None
        assert found["texts"] == [f"/r/{number}?q=%C3%A9" for number in range(RESOURCES)]
        assert found["uploaded"] == "1"
        assert found["protocols"] == ["h2"]
        assert found["events"] == ["0", "1", "2"]
        assert found["echo"] == "quack"
        # The page, what it fetched, the upload, the events and the socket: a row each.
        rows = await run.until_rows(RESOURCES + 4)
        assert len(rows) == RESOURCES + 4
        assert {row.protocol for row in rows} == {"HTTP/2"}
        assert [row.request_bytes for row in rows if row.path == "/up"] == [UPLOAD]
