"""The ACME engine with an authority that says what Pebble never says."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import maybeDeferred
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

from tests.wire.acme_world import MemoryBoard
from watchducks.certificates.acme.client import Client
from watchducks.certificates.acme.errors import AcmeError, RateLimited, Unavailable
from watchducks.certificates.acme.libraries import AccountKey, Responder, new_key
from watchducks.certificates.acme.opening import Connections
from watchducks.certificates.acme.renewal import read_window
from watchducks.certificates.acme.session import MAX_BAD_NONCES, MAX_BODY_OCTETS, Session

NET: Any = reactor
PROBLEM = "urn:ietf:params:acme:error:"


@dataclass
class Reply:
    status: int = 200
    document: object = None
    headers: Mapping[str, str] = field(default_factory=dict)


class Authority(Resource):
    """:ivar says: path -> what is said, given the payload. :ivar asked: paths, with payloads."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.asked: list[tuple[str, Any]] = []
        self.says: dict[str, Callable[[Any], Reply | None]] = {}
        self._port = NET.listenTCP(0, Site(self), interface="127.0.0.1")
        self.url = f"http://127.0.0.1:{self._port.getHost().port}"
        paths = {"newNonce": "/nonce", "newAccount": "/account", "newOrder": "/orders"}
        paths |= {"renewalInfo": "/renewal", "revokeCert": "/revoke"}
        directory = {name: self.url + path for name, path in paths.items()}
        self.says["/dir"] = lambda _: Reply(200, directory)
        self.says["/nonce"] = lambda _: Reply()
        self.says["/account"] = lambda _: Reply(201, {}, {"Location": f"{self.url}/account/1"})

    def render(self, request: Any) -> Any:
        path = request.path.decode()
        body = request.content.read()
        payload = None
        if body:
            encoded = json.loads(body)["payload"]
            text = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))
            payload = json.loads(text) if text else None
        self.asked.append((path, payload))
        reply = self.says[path](payload)
        if reply is None:
            return NOT_DONE_YET
        request.setResponseCode(reply.status)
        request.setHeader("Replay-Nonce", f"nonce{len(self.asked):03}")
        for name, value in reply.headers.items():
            request.setHeader(name, value)
        return json.dumps(reply.document).encode()

    def paths(self) -> list[str]:
        return [path for path, _ in self.asked]

    async def stop(self) -> None:
        await maybeDeferred(self._port.stopListening)


class World:
    def __init__(self, connections: Connections) -> None:
        self.authority = Authority()
        self.connections = connections
        self.session: Session = self.connections.session(
            f"{self.authority.url}/dir", AccountKey.generate()
        )
        self.client = Client(
            self.session,
            Responder("dns-01", MemoryBoard()),
            contact="hostmaster@ducks.example",
            clock=NET,
        )


@pytest_twisted.async_yield_fixture
async def world() -> AsyncIterator[World]:
    connections = Connections(None, reactor=reactor)
    await connections.start()
    made = World(connections)
    yield made
    await made.connections.stop()
    await made.authority.stop()


def refuse(kind: str, status: int, **headers: str) -> Callable[[Any], Reply]:
    document = {"type": PROBLEM + kind, "detail": "words"}
    return lambda _: Reply(
        status, document, {name.replace("_", "-"): value for name, value in headers.items()}
    )


@pytest_twisted.ensureDeferred
async def test_a_rate_limit_says_for_how_long(world: World) -> None:
    world.authority.says["/orders"] = refuse("rateLimited", 429, Retry_After="120")
    with pytest.raises(RateLimited) as caught:
        await world.client.order(["pond.example"])
    assert caught.value.retry_seconds == 120


@pytest_twisted.ensureDeferred
async def test_an_authority_that_is_away_is_not_a_refusal(world: World) -> None:
    world.authority.says["/orders"] = lambda _: Reply(503, None, {"Retry-After": "30"})
    with pytest.raises(Unavailable) as caught:
        await world.client.order(["pond.example"])
    assert caught.value.retry_seconds == 30


@pytest_twisted.ensureDeferred
async def test_a_read_is_asked_again_when_the_authority_was_away(world: World) -> None:
    replies = [Reply(503), Reply(502), Reply(200, {"status": "invalid"})]
    world.authority.says["/order/1"] = lambda _: replies.pop(0)
    with pytest.raises(AcmeError, match="the order is invalid"):
        await world.client.complete(f"{world.authority.url}/order/1", ["a.example"], new_key())
    assert not replies


@pytest_twisted.ensureDeferred
async def test_a_renewal_that_was_replaced_already_is_ordered_without(world: World) -> None:
    def orders(payload: Any) -> Reply:
        if "replaces" in payload:
            return Reply(409, {"type": f"{PROBLEM}alreadyReplaced", "detail": "words"})
        return Reply(201, {}, {"Location": f"{world.authority.url}/order/7"})

    world.authority.says["/orders"] = orders
    url = await world.client.order(["pond.example"], replaces="abc.def")
    assert url.endswith("/order/7")
    orders_made = [payload for path, payload in world.authority.asked if path == "/orders"]
    assert [order.get("replaces") for order in orders_made] == ["abc.def", None]


@pytest_twisted.ensureDeferred
async def test_the_answer_to_a_finalization_is_lost(world: World) -> None:
    states = ["ready", "processing", "invalid"]
    finalize = f"{world.authority.url}/finalize"
    world.authority.says["/order/1"] = lambda _: Reply(
        200, {"status": states.pop(0), "finalize": finalize}
    )
    world.authority.says["/finalize"] = lambda _: Reply(502)
    with pytest.raises(AcmeError, match="the order is invalid"):
        await world.client.complete(f"{world.authority.url}/order/1", ["a.example"], new_key())
    assert world.authority.paths().count("/finalize") == 1


@pytest_twisted.ensureDeferred
async def test_an_order_that_is_being_worked_on_is_waited_for(world: World) -> None:
    states = ["processing", "processing", "invalid"]
    world.authority.says["/order/1"] = lambda _: Reply(200, {"status": states.pop(0)})
    with pytest.raises(AcmeError, match="the order is invalid"):
        await world.client.complete(f"{world.authority.url}/order/1", ["a.example"], new_key())
    assert not states
    assert "/finalize" not in world.authority.paths()


@pytest_twisted.ensureDeferred
async def test_nonces_that_are_always_refused_end_somewhere(world: World) -> None:
    world.authority.says["/account"] = refuse("badNonce", 400)
    with pytest.raises(Unavailable, match="nonces"):
        await world.client.sign_in()
    assert world.authority.paths().count("/account") == MAX_BAD_NONCES


@pytest_twisted.ensureDeferred
async def test_renewal_information(world: World) -> None:
    window = {"start": "2026-12-01T00:00:00Z", "end": "2026-12-02T00:00:00Z"}
    world.authority.says["/renewal/abc.def"] = lambda _: Reply(
        200, {"suggestedWindow": window}, {"Retry-After": "7200"}
    )
    answer = await world.client.renewal_info("abc.def")
    assert answer is not None
    found = read_window(answer.document(), answer.retry_seconds)
    assert found is not None
    assert (found.end - found.start, found.again_seconds) == (86_400, 7_200)


@pytest_twisted.ensureDeferred
async def test_what_is_no_directory_is_told(world: World) -> None:
    world.authority.says["/dir"] = lambda _: Reply(200, {"keys": []})
    with pytest.raises(AcmeError, match="no ACME directory"):
        await world.client.sign_in()
    world.authority.says["/dir"] = lambda _: Reply(200, ["pond"])
    with pytest.raises(Unavailable, match="no JSON object"):
        await world.client.sign_in()


@pytest_twisted.ensureDeferred
async def test_an_endless_answer_is_cut_off(world: World) -> None:
    world.authority.says["/dir"] = lambda _: Reply(200, "x" * (MAX_BODY_OCTETS + 1))
    with pytest.raises(Unavailable, match="no answer"):
        await world.client.sign_in()


@pytest_twisted.ensureDeferred
async def test_nobody_there(world: World) -> None:
    await world.authority.stop()
    with pytest.raises(Unavailable, match="cannot be reached"):
        await world.client.sign_in()
