"""Contexts and sessions towards origins, between two OpenSSL connections in memory."""

from __future__ import annotations

import datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtensionOID, NameOID
from OpenSSL import SSL
from twisted.internet.task import Clock

from tests.unit.certificates.authority import Authority
from watchducks.certificates.pairs import make_context
from watchducks.model.sites import ORIGIN_TLS
from watchducks.proxy import origin_tls
from watchducks.proxy.errors import OriginFailure, Reason
from watchducks.proxy.origin_tls import SESSION_SECONDS, OriginContexts, OriginIdentity

HOST = "www.example.com"
# A chain with a key of P-256 is more than this; a resumed handshake sends none.
CHAIN_BYTES = 500


class Origin:
    """An origin for :data:`HOST`. :ivar sent: bytes of its last first flight."""

    def __init__(self, *names: str) -> None:
        self.authority = Authority()
        self.hold(*self.authority.certify(*(names or (HOST,))))
        client = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), None)
        client.set_connect_state()
        self.sent = 0
        self.shake_hands(client)
        self._full_bytes = self.sent

    def hold(self, chain: list[x509.Certificate], key: ec.EllipticCurvePrivateKey) -> None:
        """Have this certificate."""
        self._context = make_context(chain, key, ())

    def shake_hands(self, client: SSL.Connection) -> None:
        """Let ``client`` connect, and send it some data."""
        server = SSL.Connection(self._context, None)
        server.set_accept_state()
        ends = [client, server]
        self.sent = 0
        done: set[SSL.Connection] = set()
        while len(done) < 2:
            for one, other in (ends, ends[::-1]):
                try:
                    one.do_handshake()
                    done.add(one)
                except SSL.WantReadError:
                    pass
                moved = pending(one)
                if moved:
                    other.bio_write(moved)
                if one is server and not self.sent:
                    self.sent = len(moved)
        server.send(b"x")
        client.bio_write(pending(server))
        assert client.recv(1) == b"x"

    @property
    def resumed(self) -> bool:
        return 0 < self.sent < self._full_bytes - CHAIN_BYTES


def pending(connection: SSL.Connection) -> bytes:
    try:
        return connection.bio_read(1 << 16)
    except SSL.WantReadError:
        return b""


class Setting:
    def __init__(self, *names: str) -> None:
        self.clock = Clock()
        self.origin = Origin(*names)
        self.contexts = OriginContexts(self.origin.authority.twisted, clock=self.clock)

    def visit(self, key: str = "a", identity: OriginIdentity | None = None) -> SSL.Connection:
        """Connect, and keep the session as a pool does."""
        client = self.contexts.connection(key, identity or OriginIdentity(HOST, "verify", ""))
        self.origin.shake_hands(client)
        return client

    def use(self, key: str = "a") -> bool:
        """Visit once; return whether a session was resumed."""
        client = self.visit(key)
        resumed = self.origin.resumed
        self.contexts.keep_session(key, client)
        client.shutdown()
        return resumed


def test_a_session_is_resumed_for_its_own_origin() -> None:
    setting = Setting()
    assert [setting.use("a"), setting.use("a"), setting.use("b"), setting.use("a")] == [
        False, True, False, True
    ]  # fmt: skip


def test_a_session_ends_however_often_it_is_resumed() -> None:
    setting = Setting()
    assert not setting.use()
    for _ in range(3):
        setting.clock.advance(SESSION_SECONDS / 4)
        assert setting.use()
    setting.clock.advance(SESSION_SECONDS / 4)
    assert not setting.use()
    assert setting.use()


def test_sessions_are_bounded_and_the_last_kept_stay() -> None:
    setting = Setting()
    client = setting.visit("first")
    for number in range(origin_tls.MAX_SESSIONS + 1):
        setting.contexts.keep_session(number, client)
    client.shutdown()
    assert not setting.use("first")
    setting.contexts.keep_session("first", client)
    assert len(setting.contexts._sessions) == origin_tls.MAX_SESSIONS


def test_identity_is_checked_of_a_resumed_session_too() -> None:
    setting = Setting()
    assert not setting.use()
    client = setting.visit()
    assert setting.origin.resumed
    OriginIdentity(HOST, "verify", "").check(client)
    for identity, reason in (
        (OriginIdentity("other.example", "verify", ""), Reason.ORIGIN_TLS),
        (OriginIdentity(HOST, "pinned", "ab" * 32), Reason.ORIGIN_PIN),
    ):
        with pytest.raises(OriginFailure) as caught:
            identity.check(client)
        assert caught.value.reason is reason


@pytest.mark.parametrize("names", [b"garbage", b"\x30\x80", b"\x30\x03\x82\x01\xff", None])
def test_a_certificate_that_cannot_be_read_proves_nothing(names: bytes | None) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOST)])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder(
        name, name, key.public_key(), x509.random_serial_number(), now, now + datetime.timedelta(1)
    )
    if names is not None:
        san = ExtensionOID.SUBJECT_ALTERNATIVE_NAME
        builder = builder.add_extension(x509.UnrecognizedExtension(san, names), critical=False)
    setting = Setting()
    setting.origin.hold([builder.sign(key, hashes.SHA256())], key)
    client = setting.visit(identity=OriginIdentity(HOST, "off", ""))
    with pytest.raises(OriginFailure) as caught:
        OriginIdentity(HOST, "verify", "").check(client)
    assert caught.value.reason is Reason.ORIGIN_TLS


def test_an_untrusted_chain_is_refused_in_the_handshake_only_where_it_is_to_be_verified() -> None:
    setting = Setting()
    setting.contexts = OriginContexts(Authority().twisted, clock=setting.clock)
    for mode in ORIGIN_TLS:
        identity = OriginIdentity(HOST, mode, "")
        if mode == "verify":
            with pytest.raises(SSL.Error):
                setting.visit(identity=identity)
        else:
            setting.visit(identity=identity)


def test_the_server_name_is_sent_in_every_mode() -> None:
    contexts = OriginContexts(Authority().twisted, clock=Clock())
    for mode in ORIGIN_TLS:
        client = contexts.connection("a", OriginIdentity("xn--oy2b11u.example", mode, ""))
        with pytest.raises(SSL.WantReadError):
            client.do_handshake()
        assert b"xn--oy2b11u.example" in pending(client)


def test_all_origins_share_two_contexts() -> None:
    contexts = OriginContexts(Authority().twisted, clock=Clock())
    made = {
        contexts.connection(name, OriginIdentity(f"{name}.example", mode, "")).get_context()
        for name in "abc"
        for mode in ORIGIN_TLS
    }
    assert len(made) == 2
