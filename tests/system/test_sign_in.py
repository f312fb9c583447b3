"""From a registration to a session: the real appliance and a real mail server."""

from __future__ import annotations

import http.cookiejar
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path
from urllib.parse import urlencode

import pytest

from tests.servers.mailserver import MailServer
from tests.servers.waiting import wait_until
from tests.system.appliance import BIN, Twistd, api, dig, run

OWNER, ADMIN = "owner@ducks.example", "admin@ducks.example"
MAIL_SECONDS = 15.0


class Browser:
    """Keeps cookies and sends forms as a browser without scripts does."""

    def __init__(self, url: str) -> None:
        self._url = url
        cookies = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
        self._opener = urllib.request.build_opener(cookies)

    def get(self, path: str) -> tuple[int, str]:
        return self._open(urllib.request.Request(self._url + path))

    def send(self, page: str, path: str, **fields: str) -> tuple[int, str]:
        found = re.search(r'name="(__csrf_protection__)"[^>]*value="([^"]*)"', self.get(page)[1])
        assert found
        data = urlencode({found[1]: found[2], **fields}).encode()
        return self._open(urllib.request.Request(self._url + path, data))

    def _open(self, request: urllib.request.Request) -> tuple[int, str]:
        request.add_header("Accept", "text/html")
        try:
            with self._opener.open(request, timeout=10) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()


@pytest.fixture
def mail(tmp_path: Path) -> Iterator[MailServer]:
    (tmp_path / "mail").mkdir()
    server = MailServer(tmp_path / "mail")
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
def appliance(tmp_path: Path, mail: MailServer) -> Iterator[Twistd]:
    settings = {"mail": {"url": mail.url(), "ca_file": str(mail.ca_file)}}
    twistd = Twistd(tmp_path / "node", settings)
    twistd.start()
    try:
        yield twistd
    finally:
        twistd.stop()


def letter(mail: MailServer, number: int) -> EmailMessage:
    """Return the letter of that number, from 1, once it is there."""
    wait_until(lambda: len(mail.messages()) >= number, f"letter {number}", MAIL_SECONDS)
    return mail.messages()[number - 1]


def text(message: EmailMessage) -> str:
    body = message.get_body(("plain",))
    assert body is not None
    return str(body.get_content())


def sign_in(browser: Browser, mail: MailServer, email: str, number: int) -> str:
    assert browser.send("/sign-in", "/sign-in", email=email)[0] == 200
    message = letter(mail, number)
    assert message["To"] == email
    link = re.search(r"/sign-in/\S+", text(message))
    assert link
    status, page = browser.send(link[0], link[0])
    assert status == 200
    return page


@pytest.mark.timeout(120)
def test_an_owner_signs_in_with_a_link_that_was_mailed_to_him(
    appliance: Twistd, mail: MailServer
) -> None:
    fields = {"name": "ducks", "domain": "ducks.example", "origin": "203.0.113.7"}
    code, site = api("POST", f"{appliance.console}/api/v1/sites", {**fields, "email": OWNER})
    assert code == 201
    registered = text(letter(mail, 1))
    assert "ns1.watchducks.example" in registered
    assert "네임서버" in registered

    browser, stranger = Browser(appliance.console), Browser(appliance.console)
    assert "/sites/ducks" in sign_in(browser, mail, OWNER, 2)
    settings = "/sites/ducks/settings"
    assert browser.send(settings, f"{settings}/visibility", visibility="private")[0] == 200
    assert browser.get("/sites/ducks")[0] == 200
    assert stranger.get("/sites/ducks")[0] == 404
    assert api("GET", f"{appliance.console}/api/v1/sites/ducks")[0] == 404
    assert api("GET", f"{appliance.console}/api/v1/sites/ducks", token=site["token"])[0] == 200

    # A session is the registry's: it outlives a crash.
    appliance.kill()
    appliance.start()
    assert browser.get("/sites/ducks")[0] == 200
    assert OWNER in browser.get("/sites/ducks/history")[1]

    # A fresh installation tells how its first admin gets in, who needs no mail for that.
    assert "watchducks admin add" in appliance.log.read_text()
    adding = (BIN / "watchducks", "admin", "add", "--config", appliance.config, ADMIN)
    added = run(*adding)
    assert added.returncode == 0, added.stderr
    link = re.search(rf"{re.escape(appliance.console)}(/sign-in/\S+)", added.stdout)
    assert link
    admin = Browser(appliance.console)
    assert admin.send(link[1], link[1])[0] == 200
    assert "command line" in admin.get("/account/trail")[1]
    assert admin.get(settings)[0] == 200
    assert stranger.get("/account/trail")[1].count("command line") == 0

    _, page = browser.send("/account/tokens", "/account/tokens", label="script", scope="write")
    token = re.search(r"wd_[\w-]{43}", page)
    assert token
    command = (BIN / "watchducks", "token")
    options = ("--config", appliance.config, "--token", token[0])
    made = run(*command, "make", "reader", *options, "--site", "ducks")
    assert "wd_" in made.stdout, made.stderr
    listed = run(*command, "list", *options).stdout
    number = next(line.split("\t")[0] for line in listed.splitlines() if "reader" in line)
    assert run(*command, "revoke", number, *options).returncode == 0
    assert "reader" not in run(*command, "list", *options).stdout

    # Whoever runs the service has the last word: no more from there, and what is there rests.
    block = (BIN / "watchducks", "block")
    here = ("--config", appliance.config)
    wanted_dns = ("www.ducks.example", "A")
    assert dig(appliance.ports["dns"], *wanted_dns) == ["127.0.0.1"]
    blocked = run(*block, "add", "ducks.example", "spam", "--suspend", *here)
    assert "ducks is suspended." in blocked.stdout, blocked.stderr

    def answered(address: str) -> bool:
        return dig(appliance.ports["dns"], *wanted_dns) == [address]

    wait_until(lambda: answered("203.0.113.7"), "the origin's address", MAIL_SECONDS)
    assert "has suspended your site ducks" in text(letter(mail, 3))
    sub = {**fields, "name": "more", "domain": "more.ducks.example", "email": OWNER}
    code, refusal = api("POST", f"{appliance.console}/api/v1/sites", sub)
    assert (code, "spam" in str(refusal)) == (403, False)
    number = blocked.stdout.split("\t")[0]
    assert run(*block, "remove", number, "--resume", *here).returncode == 0
    wait_until(lambda: answered("127.0.0.1"), "the proxy's address", MAIL_SECONDS)

    assert browser.send("/account", "/sign-out")[0] == 200
    assert browser.get("/sites/ducks")[0] == 404
    told = run(BIN / "watchducks", "mail", "--config", appliance.config).stdout
    assert re.search(r"sent +3", told), told
