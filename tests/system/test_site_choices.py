"""A site's choices, made with the command and felt by visitors: the real appliance, and curl."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from tests.servers.waiting import wait_until
from tests.system.appliance import BIN, Twistd, api, curl_through, run
from tests.system.origin import ADDRESS, Origin
from tests.unit.certificates.authority import Authority

HOST = "www.ducks.example"
# A choice is one revision of the registry: the feed brings it within a second.
FELT_SECONDS = 5.0


class Setting:
    """One appliance with one site, and its owner's command."""

    def __init__(self, appliance: Twistd, origin: Origin) -> None:
        self.appliance = appliance
        fields = {"name": "ducks", "domain": HOST, "origin": origin.url, "cohort": "test"}
        fields["email"] = "owner@ducks.example"
        code, site = api("POST", f"{appliance.console}/api/v1/sites", fields)
        assert code == 201, site
        self._token = site["token"]

    def choose(self, *values: str) -> tuple[int, str, str]:
        """Run `watchducks site set ducks ...`."""
        environment = ("env", f"WATCHDUCKS_TOKEN={self._token}")
        command = (BIN / "watchducks", "site", "set", "--config", self.appliance.config, "ducks")
        found = run(*environment, *command, *values)
        return found.returncode, found.stdout, found.stderr

    def visit(self, scheme: str = "http", *arguments: str | Path) -> str:
        """Return what a visitor gets, head included."""
        port = self.appliance.ports[scheme]
        proxy = ("127.0.0.1", port)
        return curl_through(
            proxy, f"{scheme}://{HOST}:{port}/a?b=c", "--include", *arguments
        ).stdout

    def until(self, text: str, scheme: str = "http", *arguments: str | Path) -> str:
        """Visit until ``text`` is in the answer, which is returned."""
        answers: list[str] = []

        def felt() -> bool:
            answers.append(self.visit(scheme, *arguments))
            return text in answers[-1]

        wait_until(felt, f"{text!r} in the answer", FELT_SECONDS)
        return answers[-1]


@pytest.fixture
def self_signed(tmp_path: Path) -> Path:
    """The folder with a certificate that nobody knows, for another name, and its key."""
    Authority().write(tmp_path / "origin", "localhost")
    return tmp_path / "origin"


@pytest.fixture
def tls_origin(self_signed: Path) -> Iterator[Origin]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(self_signed / "fullchain.pem", self_signed / "privkey.pem")
    with Origin(context) as origin:
        yield origin


def pin_as_documented(origin: Origin) -> str:
    """Return the pin as docs/architecture.md tells owners to find it."""
    pipeline = (
        f"openssl s_client -connect {ADDRESS}:{origin.port} -servername {HOST}"
        " </dev/null 2>/dev/null | openssl x509 -pubkey -noout"
        " | openssl pkey -pubin -outform der | sha256sum"
    )
    return run("sh", "-c", pipeline).stdout.split()[0]


@pytest.mark.timeout(120)
def test_an_owner_chooses_how_his_origin_is_verified(
    twistd: Callable[..., Twistd], tls_origin: Origin
) -> None:
    appliance = twistd()
    appliance.start()
    setting = Setting(appliance, tls_origin)
    good, wrong = pin_as_documented(tls_origin), "ab" * 32

    page = setting.until("HTTP/1.1 502 ")
    assert "The site&#x27;s own server has no valid certificate for this name." in page

    code, _, said = setting.choose("origin_tls=pinned")
    assert (code, said) == (1, "watchducks: origin_pin: origin_tls = pinned needs a pin.\n")
    code, shown, said = setting.choose("origin_tls=pinned", f"origin_pin={good}")
    assert (code, said) == (0, "")
    assert good in shown
    assert "the origin of" in setting.until("HTTP/1.1 200 ")

    assert setting.choose(f"origin_pin={wrong}")[0] == 0
    page = setting.until("HTTP/1.1 502 ")
    assert "The site&#x27;s own server has another certificate than" in page

    assert setting.choose("origin_tls=off")[0] == 0
    assert "the origin of" in setting.until("HTTP/1.1 200 ")
    assert setting.choose("origin_tls=verify")[0] == 0
    setting.until("HTTP/1.1 502 ")
    assert "Traceback" not in appliance.log.read_text()


@pytest.mark.timeout(120)
def test_an_owner_chooses_https_for_all(
    twistd: Callable[..., Twistd], origin: Origin, tmp_path: Path
) -> None:
    appliance = twistd()
    authority = Authority()
    authority.write(appliance.data_dir / "certificates" / "ducks", HOST)
    ca = tmp_path / "ca.pem"
    ca.write_bytes(authority.certificate.public_bytes(Encoding.PEM))
    appliance.start()
    setting = Setting(appliance, origin)
    assert "HTTP/1.1 200 " in setting.until("the origin of")

    code, shown, said = setting.choose("redirect_to_https=true", "hsts_seconds=300")
    assert (code, said) == (0, "")
    assert "redirect_to_https  true" in shown
    page = setting.until("HTTP/1.1 301 ")
    assert f"\nLocation: https://{HOST}/a?b=c\n" in page
    assert "strict-transport-security" not in page.lower()  # RFC 6797 section 7.2
    secure = setting.until("the origin of", "https", "--cacert", ca, "--http1.1")
    assert "\nstrict-transport-security: max-age=300\n" in secure.lower()

    for values, problem in (
        (["hsts_seconds=-1"], "hsts_seconds: Enter a number of seconds from 0 to 63072000."),
        (["redirect_to_https=maybe"], "redirect_to_https: Choose true or false."),
        (["origin_tls=none"], "origin_tls: Choose verify, pinned or off."),
        (["name=geese"], "name: The name of a site cannot be changed."),
    ):
        assert setting.choose(*values) == (1, "", f"watchducks: {problem}\n")
    code, _, said = setting.choose("hsts_seconds")
    assert code == 2
    assert "'hsts_seconds' is not KEY=VALUE" in said

    assert setting.choose("redirect_to_https=no", "hsts_seconds=0")[0] == 0
    assert "HTTP/1.1 200 " in setting.until("the origin of")
    assert "Traceback" not in appliance.log.read_text()
