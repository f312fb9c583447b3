"""Certificates from files: taken up, replaced and dropped without a restart."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import pytest
import pytest_twisted
from OpenSSL import SSL
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, globalLogPublisher
from zope.interface import implementer

from tests.unit.certificates.authority import Authority
from watchducks.certificates.pairs import Pair, make_default_context
from watchducks.certificates.store import CertificateStore

# pyOpenSSL cannot say which key exchanges a client offers; the library below it can.
LIB: Any = SSL._lib  # type: ignore[attr-defined]

P = ParamSpec("P")
T = TypeVar("T")


class InlinePool:
    """Runs everything at once, in the test's own thread."""

    async def run(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return function(*args, **kwargs)


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture
def logged() -> Iterator[list[str]]:
    lines: list[str] = []

    @implementer(ILogObserver)
    def observe(event: Any) -> None:
        if str(event.get("log_namespace", "")).startswith("watchducks.certificates"):
            lines.append(str(event["log_format"]).format(**event))

    globalLogPublisher.addObserver(observe)
    yield lines
    globalLogPublisher.removeObserver(observe)


def new_store(directory: Path, wall: Callable[[], float] = time.time) -> CertificateStore:
    return CertificateStore(directory, pool=InlinePool(), clock=Clock(), wall=wall)


@pytest_twisted.ensureDeferred
async def test_names_come_from_the_certificate(tmp_path: Path, authority: Authority) -> None:
    authority.write(tmp_path / "ducks", "Example.com", "*.example.com")
    store = new_store(tmp_path)
    await store.start()
    context = store.context_for("example.com")
    assert context is not None
    assert store.context_for("www.example.com") is context
    assert store.context_for("a.b.example.com") is None  # a wildcard is one label
    assert store.context_for("other.example") is None
    assert store.covers("example.com", "shop.example.com")
    assert not store.covers("example.com", "other.example")
    assert not store.covers("other.example", "other.example")
    await store.stop()


@pytest_twisted.ensureDeferred
async def test_files_that_come_change_and_go(
    tmp_path: Path, authority: Authority, logged: list[str]
) -> None:
    clock = Clock()
    store = CertificateStore(tmp_path / "new", pool=InlinePool(), clock=clock)
    await store.start()
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700
    assert store.context_for("a.example") is None
    folder = tmp_path / "new" / "ducks"
    authority.write(folder, "a.example")
    clock.advance(2)
    first = store.context_for("a.example")
    assert first is not None
    clock.advance(2)
    assert store.context_for("a.example") is first  # not read again
    authority.write(folder, "a.example", "b.example")
    clock.advance(2)
    assert store.context_for("a.example") is not first
    assert store.context_for("b.example") is not None
    for file in folder.iterdir():
        file.unlink()
    clock.advance(2)
    assert store.context_for("a.example") is None
    assert any("ducks was removed" in line for line in logged)
    await store.stop()


def spoil_chain(folder: Path, authority: Authority) -> str:
    (folder / "fullchain.pem").write_bytes(b"no certificate")
    return "holds no PEM certificates"


def spoil_key(folder: Path, authority: Authority) -> str:
    (folder / "privkey.pem").write_bytes(b"no key")
    return "holds no PEM private key"


def swap_key(folder: Path, authority: Authority) -> str:
    authority.write(folder.parent.parent / "elsewhere", "a.example")
    other = folder.parent.parent / "elsewhere" / "privkey.pem"
    (folder / "privkey.pem").write_bytes(other.read_bytes())
    return "is not the key of the first certificate"


def remove_key(folder: Path, authority: Authority) -> str:
    (folder / "privkey.pem").unlink()
    return "cannot be read: No such file or directory"


def expire(folder: Path, authority: Authority) -> str:
    authority.write(folder, "a.example", days=-1)
    return "renew it"


def unname(folder: Path, authority: Authority) -> str:
    authority.write(folder)
    return "names no host"


def bloat(folder: Path, authority: Authority) -> str:
    (folder / "fullchain.pem").write_bytes(b"x" * 300_000)
    return "is longer than"


@pytest.mark.parametrize(
    "spoil", [spoil_chain, spoil_key, swap_key, remove_key, expire, unname, bloat]
)
@pytest_twisted.ensureDeferred
async def test_a_bad_pair_is_logged_once_and_the_last_good_one_stays(
    tmp_path: Path,
    authority: Authority,
    logged: list[str],
    spoil: Callable[[Path, Authority], str],
) -> None:
    store = new_store(tmp_path / "certificates")
    folder = tmp_path / "certificates" / "ducks"
    authority.write(folder, "a.example")
    await store.start()
    good = store.context_for("a.example")
    assert good is not None
    why = spoil(folder, authority)
    await store.scan()
    await store.scan()
    warnings = [line for line in logged if "is not used" in line]
    assert len(warnings) == 1
    assert why in warnings[0]
    assert "stays in use" in warnings[0]
    assert "PRIVATE KEY-" not in warnings[0]
    assert store.context_for("a.example") is good
    await store.stop()


@pytest_twisted.ensureDeferred
async def test_a_certificate_that_expires_while_it_is_held_is_not_used(
    tmp_path: Path, authority: Authority
) -> None:
    ahead = 0.0
    authority.write(tmp_path / "ducks", "a.example", days=2)
    store = new_store(tmp_path, wall=lambda: time.time() + ahead)
    await store.start()
    assert store.context_for("a.example") is not None
    ahead = 3 * 86400.0
    assert store.context_for("a.example") is None
    await store.stop()


@pytest_twisted.ensureDeferred
async def test_of_two_for_a_name_the_one_that_lasts_longer(
    tmp_path: Path, authority: Authority
) -> None:
    for folder, days in (("a", 5), ("b", 9), ("c", 7)):
        authority.write(tmp_path / folder, "a.example", f"{folder}.example", days=days)
    store = new_store(tmp_path)
    await store.start()
    assert store.context_for("a.example") is store.context_for("b.example")
    await store.stop()


@pytest_twisted.ensureDeferred
async def test_a_key_that_everybody_may_read_is_warned_about(
    tmp_path: Path, authority: Authority, logged: list[str]
) -> None:
    authority.write(tmp_path / "ducks", "a.example")
    (tmp_path / "ducks" / "privkey.pem").chmod(0o644)
    store = new_store(tmp_path)
    await store.start()
    assert any("chmod 600" in line for line in logged)
    assert store.context_for("a.example") is not None
    await store.stop()


def handshake(server: SSL.Context, client: SSL.Context) -> SSL.Connection:
    """Shake hands in memory; returns the client's side."""
    ends = [SSL.Connection(client, None), SSL.Connection(server, None)]
    ends[0].set_connect_state()
    ends[1].set_accept_state()
    for _ in range(8):
        for end, other in (ends, ends[::-1]):
            with suppress(SSL.WantReadError):
                end.do_handshake()
            with suppress(SSL.WantReadError):
                other.bio_write(end.bio_read(65536))
    return ends[0]


def client(*alpn: bytes, highest: int | None = None) -> SSL.Context:
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    if alpn:
        context.set_alpn_protos(list(alpn))
    if highest is not None:
        context.set_min_proto_version(0)
        context.set_cipher_list(b"ALL:@SECLEVEL=0")
        context.set_max_proto_version(highest)
    return context


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [((), b""), ((b"h2",), b""), ((b"x", b"http/1.1"), b"http/1.1"), ((b"http/1.1", b"h2"), b"h2")],
)
def test_alpn_takes_what_we_want_most_and_never_fails(
    offered: tuple[bytes, ...], chosen: bytes
) -> None:
    wanted = (b"h2", b"http/1.1") if chosen == b"h2" else (b"http/1.1",)
    end = handshake(make_default_context(time.time(), wanted), client(*offered))
    assert end.get_alpn_proto_negotiated() == chosen
    assert end.get_protocol_version_name() == "TLSv1.3"


def test_old_versions_are_refused() -> None:
    server = make_default_context(time.time(), ())
    end = handshake(server, client(highest=SSL.TLS1_2_VERSION))
    assert end.get_protocol_version_name() == "TLSv1.2"
    assert str(end.get_cipher_name()).startswith("ECDHE-ECDSA-")
    # By our own word: without the security level, by which OpenSSL would refuse them as well.
    with pytest.raises(SSL.Error, match="unsupported protocol"):
        handshake(without_security_level(), client(highest=SSL.TLS1_1_VERSION))
    lax = without_security_level()
    lax.set_min_proto_version(0)
    end = handshake(lax, client(highest=SSL.TLS1_1_VERSION))
    assert end.get_protocol_version_name() == "TLSv1.1"


def without_security_level() -> SSL.Context:
    context = make_default_context(time.time(), ())
    context.set_cipher_list(b"ALL:@SECLEVEL=0")
    return context


def test_what_a_pair_covers() -> None:
    pair = Pair((), b"", frozenset({"a.b", "*.c.d"}), 0.0)
    assert pair.covers("a.b")
    assert pair.covers("x.c.d")
    for host in ("c.d", "y.x.c.d", "x.a.b", "", "d"):
        assert not pair.covers(host)


@pytest.mark.parametrize("group", [b"X25519MLKEM768", b"X25519", b"P-256"])
def test_the_key_exchanges_that_are_offered(group: bytes) -> None:
    context = client()
    assert LIB.SSL_CTX_set1_curves_list(context._context, group) == 1
    end = handshake(make_default_context(time.time(), ()), context)
    assert end.get_protocol_version_name() == "TLSv1.3"


def test_the_post_quantum_one_is_preferred_and_slow_ones_are_refused() -> None:
    server = make_default_context(time.time(), ())
    assert str(handshake(server, client()).get_group_name()).upper() == "X25519MLKEM768"
    slow = client()
    assert LIB.SSL_CTX_set1_curves_list(slow._context, b"P-521") == 1
    with pytest.raises(SSL.Error):
        handshake(server, slow)


@pytest_twisted.ensureDeferred
async def test_contexts_are_made_when_asked_for_and_only_some_are_kept(
    tmp_path: Path, authority: Authority
) -> None:
    for name in ("a", "b", "c"):
        authority.write(tmp_path / name, f"{name}.example")
    store = CertificateStore(tmp_path, pool=InlinePool(), clock=Clock(), max_contexts=2)
    await store.start()
    assert not store._contexts
    a, b = store.context_for("a.example"), store.context_for("b.example")
    assert store.context_for("a.example") is a
    c = store.context_for("c.example")
    assert len(store._contexts) == 2
    assert store.context_for("a.example") is a
    again = store.context_for("b.example")
    assert again is not None
    assert again not in (a, b, c)
    end = handshake(again, client())
    leaf = end.get_peer_certificate(as_cryptography=True)
    assert leaf is not None
    assert "b.example" in str(leaf.extensions)
    authority.write(tmp_path / "b", "b.example", days=11)
    await store.scan()
    assert len(store._contexts) == 1  # the old one of b is not kept
    await store.stop()
