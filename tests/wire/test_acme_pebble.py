"""The ACME engine with a real authority: Pebble, in its strict mode, refusing nonces."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_twisted
from cryptography import x509
from twisted.internet import reactor
from twisted.web.resource import Resource
from twisted.web.server import Site

from tests.servers.pebble import Pebble
from tests.wire.acme_world import MemoryBoard, answer_challenges
from tests.wire.dns_answering import AnsweringServer
from watchducks.certificates.acme.client import (
    REASON_SUPERSEDED,
    Binding,
    Client,
)
from watchducks.certificates.acme.errors import AcmeError, Rejected
from watchducks.certificates.acme.libraries import AccountKey, Responder, new_key
from watchducks.certificates.acme.opening import Connections
from watchducks.certificates.acme.session import Session
from watchducks.certificates.pairs import names_of


class World:
    """Pebble, the name server that it asks, and an account."""

    def __init__(self, pebble: Pebble) -> None:
        self.pebble = pebble
        self.board = MemoryBoard()
        self.dns = AnsweringServer()
        self.dns.start()
        answer_challenges(self.dns, self.board)
        self.connections = Connections(pebble.ca_file, reactor=reactor)
        self.key = AccountKey.generate()

    def session(self, key: AccountKey | None = None) -> Session:
        return self.connections.session(self.pebble.directory_url, key or self.key)

    def client(self, kind: str = "dns-01", session: Session | None = None, **more: Any) -> Client:
        return Client(
            session or self.session(),
            Responder(kind, self.board),
            contact="hostmaster@ducks.example",
            clock=reactor,
            **more,
        )

    async def stop(self) -> None:
        await self.connections.stop()
        await self.dns.stop()


@pytest_twisted.async_yield_fixture
async def world(pebble: Pebble) -> AsyncIterator[World]:
    made = World(pebble)
    await made.connections.start()
    yield made
    await made.stop()


async def obtained(client: Client, *names: str) -> list[x509.Certificate]:
    pem = await client.complete(await client.order(names), names, new_key())
    return x509.load_pem_x509_certificates(pem)


@pytest_twisted.ensureDeferred
async def test_apex_and_wildcard_share_a_name(world: World) -> None:
    world.pebble.be(dns_port=world.dns.port)
    chain = await obtained(world.client(), "pond.example", "*.pond.example")
    assert names_of(chain[0]) == {"pond.example", "*.pond.example"}
    assert len(chain) == 2
    assert {one.name for one in world.board.posted} == {"pond.example"}
    assert len({one.value for one in world.board.posted}) == 2
    assert not world.board.hanging


@pytest_twisted.ensureDeferred
async def test_a_hundred_names_while_every_second_nonce_is_refused(world: World) -> None:
    world.pebble.be(dns_port=world.dns.port, bad_nonces=50)
    names = [f"n{number}.pond.example" for number in range(100)]
    chain = await obtained(world.client(), *names)
    assert names_of(chain[0]) == set(names)


@pytest_twisted.ensureDeferred
async def test_a_bad_name_is_told_apart_from_the_good_ones(world: World) -> None:
    world.pebble.be(dns_port=world.dns.port)
    answer_challenges(world.dns, world.board, "dead.example", "gone.example")
    client = world.client()
    with pytest.raises(Rejected) as caught:
        await obtained(client, "pond.example", "dead.example", "gone.example")
    assert caught.value.names.keys() == {"dead.example", "gone.example"}
    assert not world.board.hanging
    assert names_of((await obtained(client, "pond.example"))[0]) == {"pond.example"}


@pytest_twisted.ensureDeferred
async def test_a_name_that_is_not_allowed_is_told(world: World) -> None:
    world.pebble.be(dns_port=world.dns.port)
    with pytest.raises(AcmeError) as caught:
        await obtained(world.client(), "blocked.example")
    assert caught.value.kind == "rejectedIdentifier"


@pytest_twisted.ensureDeferred
async def test_http_01(world: World) -> None:
    class Page(Resource):
        isLeaf = True

        def render_GET(self, request: Any) -> bytes:
            host = request.getRequestHostname().decode()
            found = world.board.answers.page(host, request.postpath[-1].decode())
            return (found or "").encode()

    net: Any = reactor
    page: Any = Page
    port = net.listenTCP(0, Site(page()), interface="127.0.0.1")
    try:
        world.pebble.be(dns_port=world.dns.port, http_port=port.getHost().port)
        chain = await obtained(world.client("http-01"), "pond.example", "www.pond.example")
        assert names_of(chain[0]) == {"pond.example", "www.pond.example"}
    finally:
        await port.stopListening()


@pytest_twisted.ensureDeferred
async def test_an_external_account(world: World) -> None:
    secret = b"of thirty-two octets or some more"
    world.pebble.be(dns_port=world.dns.port, mac_keys={"ducks": secret})
    with pytest.raises(AcmeError) as caught:
        await obtained(world.client(), "pond.example")
    assert caught.value.kind == "externalAccountRequired"
    await obtained(world.client(binding=Binding("ducks", secret)), "pond.example")


@pytest_twisted.ensureDeferred
async def test_the_chain_that_is_preferred(world: World) -> None:
    world.pebble.be(dns_port=world.dns.port, alternate_roots=2)
    wanted = x509.load_pem_x509_certificate(world.pebble.root(2)).subject
    name = str(wanted.rdns[0].rfc4514_string()).removeprefix("CN=")
    chain = await obtained(world.client(preferred_issuer=name), "pond.example")
    assert chain[-1].issuer == wanted
    usual = await obtained(world.client(preferred_issuer="Nobody"), "pond.example")
    assert usual[-1].issuer == x509.load_pem_x509_certificate(world.pebble.root(0)).subject


@pytest_twisted.ensureDeferred
async def test_an_order_is_taken_up_again_by_another_process(world: World) -> None:
    world.pebble.be(dns_port=world.dns.port)
    key = new_key()
    url = await world.client().order(["pond.example"])
    first = await world.client().complete(url, ["pond.example"], key)
    assert await world.client().complete(url, ["pond.example"], key) == first


@pytest_twisted.ensureDeferred
async def test_the_account_gets_another_key(world: World) -> None:
    world.pebble.be(dns_port=world.dns.port)
    session = world.session()
    client = world.client(session=session)
    account = await client.sign_in()
    new = AccountKey.generate()
    await client.change_key(new)
    await obtained(client, "pond.example")
    renewed = world.client(session=world.session(new))
    assert await renewed.has_account()
    assert await renewed.sign_in() == account
    assert not await world.client(session=world.session(world.key)).has_account()
    assert await world.client(session=world.session(world.key)).sign_in() != account


@pytest_twisted.ensureDeferred
async def test_a_certificate_is_revoked_once(world: World) -> None:
    world.pebble.be(dns_port=world.dns.port)
    client = world.client()
    (leaf, *_) = await obtained(client, "pond.example")
    await client.revoke(leaf, REASON_SUPERSEDED)
    await client.revoke(leaf, REASON_SUPERSEDED)


@pytest_twisted.ensureDeferred
async def test_what_is_left_out_of_a_certificate_is_noticed(world: World) -> None:
    world.pebble.be(dns_port=world.dns.port)
    client = world.client()
    key = new_key()
    url = await client.order(["pond.example"])
    await client.complete(url, ["pond.example"], key)
    with pytest.raises(AcmeError, match=r"leaves out other\.example"):
        await client.complete(url, ["other.example"], key)
    with pytest.raises(AcmeError, match="another key"):
        await client.complete(url, ["pond.example"], new_key())
