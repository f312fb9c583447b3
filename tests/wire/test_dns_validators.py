"""Signed zones before those who validate in earnest: delv (BIND) and unbound."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import dns.flags
import dns.message
import dns.query
import dns.rcode
import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.threads import deferToThread
from twisted.internet.utils import getProcessOutputAndValue

from tests.servers.ports import LOOPBACK, free_port
from tests.servers.process import find_program
from tests.servers.unbound import Unbound
from tests.unit.nameserver.fakes import (
    PROXY4,
    FixedVerdicts,
    changed,
    contents,
    rdatas,
    site,
    zone_table,
)
from tests.unit.nameserver.keys import GlassSeals, zone_key
from watchducks.model.signing import Phase, Signing, ZoneKey, apex_name
from watchducks.nameserver.listener import NameServer
from watchducks.nameserver.responder import Responder
from watchducks.nameserver.signatures import Signatures
from watchducks.nameserver.signing import Signer

REACTOR: Any = reactor
T = TypeVar("T")
ZONE, INNER, PLAIN = "ducks.example", "inner.ducks.example", "plain.ducks.example"
KEY, NEXT_KEY, STRANGE_KEY = (zone_key(number, ZONE) for number in (1, 2, 3))
INNER_KEY = zone_key(4, INNER)
SIGNED = Signing(Phase.SIGNED, 0, (KEY,))
RECORDS = f"""
@            300 MX    10 mail
mail         300 A     198.51.100.25
alias        300 CNAME mail
dangling     300 CNAME nothing
*.wild       300 TXT   "made"
deep.down    300 TXT   "below an empty name"
inner        300 NS    ns1.watchducks.example.
inner        300 DS    {INNER_KEY.ds(apex_name(INNER))}
"""
MANY = "".join(f'many 300 TXT "{number:03} {"x" * 200}"\n' for number in range(40))


class Validated:
    """Our name server with a signed zone, a signed one within it and an unsigned one."""

    def __init__(self) -> None:
        self.verdicts = FixedVerdicts(PROXY4)
        self.zones = zone_table(
            site(INNER, signing=Signing(Phase.SIGNED, 0, (INNER_KEY,))), site(PLAIN)
        )
        self.sign(SIGNED)
        self.port = free_port()
        signatures = Signatures(GlassSeals(), clock=REACTOR)
        self.server = NameServer(
            [f"{kind}:{self.port}:interface={LOOPBACK}" for kind in ("udp", "tcp")],
            Responder(
                self.zones,
                self.verdicts,
                clock=REACTOR,
                signer=Signer(self.zones, self.verdicts, signatures),
            ),
            reactor=reactor,
        )

    def sign(self, signing: Signing) -> None:
        held = contents(ZONE, RECORDS + MANY)
        self.zones.apply(changed([site(ZONE, held=held, signing=signing)]))

    @property
    def servers(self) -> Mapping[str, list[tuple[str, int]]]:
        return {zone: [(LOOPBACK, self.port)] for zone in (ZONE, INNER, PLAIN)}


@pytest_twisted.async_yield_fixture
async def validated() -> Any:
    validated = Validated()
    await validated.server.start()
    yield validated
    await validated.server.stop()


async def in_thread(function: Callable[..., T], *arguments: Any) -> T:
    """Our name server answers from the reactor's thread, which must not wait."""
    return await deferToThread(function, *arguments)


def anchor(*keys: ZoneKey) -> list[str]:
    return [f"{ZONE}. 3600 IN DS {key.ds(apex_name(ZONE))}" for key in keys]


# --- delv -----------------------------------------------------------------------------------------


class Delv:
    """delv, which trusts one key of ours and asks our name server."""

    def __init__(self, directory: Path, port: int) -> None:
        self._program = find_program("delv")
        self._directory = directory
        self._port = port

    async def ask(self, name: str, type_: str = "A", key: ZoneKey = KEY) -> str:
        """Return what delv says."""
        tag, digest = key.ds(apex_name(ZONE))
        file = self._directory / "anchor"
        file.write_text(f'trust-anchors {{ {ZONE}. static-ds {tag} 13 2 "{digest.hex()}"; }};\n')
        out, err, _ = await getProcessOutputAndValue(
            self._program,
            [f"@{LOOPBACK}", "-p", str(self._port), "-a", str(file), f"+root={ZONE}", name, type_],
        )
        said: bytes = out + err
        return said.decode()


@pytest.mark.parametrize(
    ("name", "type_", "expected"),
    [
        ("www", "A", f"; fully validated\nwww.{ZONE}.\t30\tIN\tA\t{PROXY4}"),
        ("@", "MX", "; fully validated"),
        ("@", "SOA", "; fully validated"),
        ("@", "DNSKEY", "; fully validated"),
        ("@", "CDS", "; fully validated"),
        ("alias", "A", "; fully validated"),
        ("a.b.wild", "TXT", "; fully validated"),
        ("many", "TXT", "; fully validated"),  # by TCP: 8 kB
        ("inner", "DS", "; fully validated"),
        (f"www.{INNER}.", "A", "; fully validated"),
        (f"www.{PLAIN}.", "A", "; unsigned answer"),
        ("nothing", "A", "; negative response, fully validated"),
        ("www", "TXT", "; negative response, fully validated"),
        ("www", "AAAA", "; negative response, fully validated"),
        ("down", "A", "; negative response, fully validated"),
        ("a.wild", "A", "; negative response, fully validated"),
        ("dangling", "A", f"; nothing.{ZONE}. NSEC \\000.nothing.{ZONE}. RRSIG NSEC TYPE128"),
        ("plain", "DS", "; negative response, fully validated"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_delv_validates(
    validated: Validated, tmp_path: Path, name: str, type_: str, expected: str
) -> None:
    delv = Delv(tmp_path, validated.port)
    full = {"@": f"{ZONE}."}.get(name, name if name.endswith(".") else f"{name}.{ZONE}.")
    assert expected in await delv.ask(full, type_)


@pytest_twisted.ensureDeferred
async def test_delv_would_have_noticed(validated: Validated, tmp_path: Path) -> None:
    """The tests beside this one can fail."""
    delv = Delv(tmp_path, validated.port)
    assert "no valid" in await delv.ask(f"www.{ZONE}.", key=STRANGE_KEY)
    validated.sign(Signing())
    assert "resolution failed" in await delv.ask(f"www.{ZONE}.")


@pytest_twisted.ensureDeferred
async def test_delv_validates_all_along_a_rollover(validated: Validated, tmp_path: Path) -> None:
    delv = Delv(tmp_path, validated.port)
    both, later = (KEY, NEXT_KEY), int(REACTOR.seconds()) + 3600
    for signing, trusted in (
        (Signing(Phase.PUBLISHING, later, both), (KEY,)),
        (Signing(Phase.REPLACING, 0, both), both),
        (Signing(Phase.RETIRING, later, both), both),
        (Signing(Phase.SIGNED, 0, (NEXT_KEY,)), (NEXT_KEY,)),
        (Signing(Phase.WITHDRAWING, 0, (NEXT_KEY,)), (NEXT_KEY,)),
    ):
        validated.sign(signing)
        for key in trusted:
            assert "; fully validated" in await delv.ask(f"www.{ZONE}.", "A", key), signing.phase


# --- unbound --------------------------------------------------------------------------------------


async def resolve(unbound: Unbound, name: str, type_: str = "A") -> dns.message.Message:
    query = dns.message.make_query(name, type_, want_dnssec=True)
    response, _ = await in_thread(
        lambda: dns.query.udp_with_fallback(query, unbound.address, port=unbound.port, timeout=10)
    )
    return response


async def assert_secure(unbound: Unbound, name: str, type_: str = "A") -> dns.message.Message:
    response = await resolve(unbound, name, type_)
    assert response.rcode() == dns.rcode.NOERROR, (name, response)
    assert response.flags & dns.flags.AD, (name, response)
    return response


@pytest_twisted.ensureDeferred
async def test_unbound_validates(validated: Validated, unbound: Unbound) -> None:
    await in_thread(unbound.know, validated.servers, anchor(KEY))
    for name, type_ in (
        ("www", "A"),
        ("alias", "A"),
        ("a.b.wild", "TXT"),
        ("many", "TXT"),
        ("inner", "DS"),
    ):
        assert (await assert_secure(unbound, f"{name}.{ZONE}.", type_)).answer
    for name, type_ in (
        ("www", "TXT"),
        ("www", "AAAA"),
        ("down", "A"),
        ("a.wild", "A"),
        ("nothing", "A"),  # as a resolver sees it that does not send CO (RFC 9824)
        ("plain", "DS"),
    ):
        assert not (await assert_secure(unbound, f"{name}.{ZONE}.", type_)).answer
    assert (await assert_secure(unbound, f"dangling.{ZONE}.")).answer
    assert (await assert_secure(unbound, f"www.{INNER}.")).answer
    insecure = await resolve(unbound, f"www.{PLAIN}.")
    assert insecure.rcode() == dns.rcode.NOERROR
    assert not insecure.flags & dns.flags.AD


@pytest_twisted.ensureDeferred
async def test_unbound_validates_the_answers_of_a_failover(
    validated: Validated, unbound: Unbound
) -> None:
    await in_thread(unbound.know, validated.servers, anchor(KEY))
    validated.verdicts.set()
    response = await assert_secure(unbound, f"www.{ZONE}.")
    assert rdatas(response.answer)[0].endswith("IN A 198.51.100.7")


@pytest_twisted.ensureDeferred
async def test_unbound_validates_all_along_a_rollover(
    validated: Validated, unbound: Unbound
) -> None:
    """One cache all along, as far as the parent names the old key; then the parent names the new
    one, and a resolver that has just started believes that."""
    both, later = (KEY, NEXT_KEY), int(REACTOR.seconds()) + 3600
    validated.sign(Signing(Phase.PUBLISHING, later, both))
    await in_thread(unbound.know, validated.servers, anchor(KEY))
    await assert_secure(unbound, f"www.{ZONE}.")
    validated.sign(Signing(Phase.REPLACING, 0, both))
    await assert_secure(unbound, f"mail.{ZONE}.")  # signed by a key that is known by now
    await in_thread(unbound.know, validated.servers, anchor(NEXT_KEY))
    await assert_secure(unbound, f"www.{ZONE}.")
    validated.sign(Signing(Phase.RETIRING, later, both))
    await assert_secure(unbound, f"alias.{ZONE}.")
    validated.sign(Signing(Phase.SIGNED, 0, (NEXT_KEY,)))
    await assert_secure(unbound, f"nothing.{ZONE}.")


@pytest_twisted.ensureDeferred
async def test_unbound_would_have_noticed(validated: Validated, unbound: Unbound) -> None:
    """The tests beside this one can fail: another DS, or signatures gone before it."""
    await in_thread(unbound.know, validated.servers, anchor(STRANGE_KEY))
    assert (await resolve(unbound, f"www.{ZONE}.")).rcode() == dns.rcode.SERVFAIL
    validated.sign(Signing())
    await in_thread(unbound.know, validated.servers, anchor(KEY))
    assert (await resolve(unbound, f"www.{ZONE}.")).rcode() == dns.rcode.SERVFAIL
