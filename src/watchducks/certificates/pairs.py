"""One certificate chain and its key: read, check, make a TLS context of it. No reactor."""

from __future__ import annotations

import datetime
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.x509.oid import NameOID
from OpenSSL import SSL, crypto

CHAIN_FILE: Final = "fullchain.pem"
KEY_FILE: Final = "privkey.pem"
# A chain of ten with RSA keys of 8192 bits; a file larger than this is no chain.
MAX_FILE_BYTES: Final = 256 * 1024

# Mozilla's "intermediate" profile, version 5.7, for TLS 1.2; TLS 1.3's own suites are all good.
_CIPHERS: Final = (
    b"ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"
    b"ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"
    b"ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305:"
    b"DHE-RSA-AES128-GCM-SHA256:DHE-RSA-AES256-GCM-SHA384:DHE-RSA-CHACHA20-POLY1305"
)
# The key exchanges that we offer, the most wanted first: post-quantum, then Mozilla's list.
_GROUPS: Final = b"X25519MLKEM768:X25519:P-256:P-384"
# OpenSSL resumes sessions only among contexts of the same id. Ours have keys of their own anyway.
_SESSION_ID: Final = b"watchducks"


class BadPair(Exception):
    """The two files are of no use; the text says why and what to do."""


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """A certificate that can be served. It holds bytes, of which a context is made when somebody
    asks for one: a context takes 27 KB, the bytes of a usual chain 3 KB.

    :ivar chain: DER, the leaf first. :ivar key: DER; a secret.
    :ivar names: lower-case host names of the leaf; ``*.example.com`` among them.
    :ivar not_after: when it expires, POSIX seconds.
    """

    chain: tuple[bytes, ...]
    key: bytes = field(repr=False)
    names: frozenset[str]
    not_after: float

    def make_context(self, alpn: Sequence[bytes]) -> SSL.Context:
        """Return a new context, which has ticket keys of its own. Takes 0.4 ms.

        :param alpn: the protocols we speak over it, the most wanted first.
        """
        key = serialization.load_der_private_key(
            self.key,
            password=None,
            # Checked when it was read; doing it again takes 100 times as long as all the rest.
            unsafe_skip_rsa_key_validation=True,
        )
        chain = [x509.load_der_x509_certificate(certificate) for certificate in self.chain]
        return make_context(chain, key, alpn)

    def covers(self, host: str) -> bool:
        """Return whether it is one for ``host`` (RFC 6125: a wildcard is one whole label)."""
        return host in self.names or wildcard_of(host) in self.names


def wildcard_of(host: str) -> str:
    """Return the wildcard name that covers ``host``: ``*.`` and all but its first label."""
    return f"*.{host.partition('.')[2]}"


def open_to_others(key: Path) -> bool:
    """Return whether users besides the owner and his group may read a key file."""
    return bool(key.stat().st_mode & stat.S_IROTH)


def read_pair(folder: Path, *, now: float) -> Pair:
    """Read and check ``fullchain.pem`` and ``privkey.pem`` of ``folder``. Blocks.

    :param now: POSIX seconds.
    :raises BadPair: unreadable, expired, not a pair, or without names.
    """
    chain_file, key_file = folder / CHAIN_FILE, folder / KEY_FILE
    try:
        chain = x509.load_pem_x509_certificates(_read(chain_file))
    except ValueError as error:
        raise BadPair(
            f"{chain_file} holds no PEM certificates ({error}): write the certificate first and"
            " its issuers after it"
        ) from error
    try:
        key = serialization.load_pem_private_key(_read(key_file), password=None)
    except (ValueError, TypeError) as error:
        # The parser's own words are not repeated: they are about a secret.
        raise BadPair(f"{key_file} holds no PEM private key without a password") from error
    leaf = chain[0]
    if _public_bytes(leaf) != _public_bytes(key):
        raise BadPair(f"{key_file} is not the key of the first certificate in {chain_file}")
    not_after = leaf.not_valid_after_utc
    if not_after.timestamp() <= now:
        raise BadPair(f"{chain_file} expired on {not_after:%Y-%m-%d %H:%M} UTC: renew it")
    names = names_of(leaf)
    if not names:
        raise BadPair(f"{chain_file} names no host (subjectAltName): browsers would refuse it")
    try:
        make_context(chain, key, ())  # for its complaints, while the one before can stay in use
    except (SSL.Error, crypto.Error) as error:
        raise BadPair(f"OpenSSL refuses {chain_file} with its key: {error}") from error
    return Pair(
        tuple(certificate.public_bytes(serialization.Encoding.DER) for certificate in chain),
        key.private_bytes(
            serialization.Encoding.DER,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
        names,
        not_after.timestamp(),
    )


def _read(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            data = opened.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise BadPair(f"{file} cannot be read: {error.strerror}") from error
    if len(data) > MAX_FILE_BYTES:
        raise BadPair(f"{file} is longer than {MAX_FILE_BYTES} bytes: it is no PEM file of ours")
    return data


def _public_bytes(holder: x509.Certificate | PrivateKeyTypes) -> bytes:
    return holder.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def names_of(leaf: x509.Certificate) -> frozenset[str]:
    """Return the host names of a certificate, lower-case."""
    try:
        extension = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except (x509.ExtensionNotFound, ValueError):
        return frozenset()
    return frozenset(
        name.lower().rstrip(".") for name in extension.value.get_values_for_type(x509.DNSName)
    )


def make_context(
    chain: Sequence[x509.Certificate], key: PrivateKeyTypes, alpn: Sequence[bytes]
) -> SSL.Context:
    """Return a server's context: TLS 1.2 and 1.3, Mozilla's intermediate profile."""
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_cipher_list(_CIPHERS)
    context.set_options(SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)  # 32 KiB less for each connection that is idle
    # Sessions are resumed by tickets, which the visitors keep. A cache of ours would only be used
    # by clients without tickets, and hold up to 20,000 sessions a certificate.
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_session_id(_SESSION_ID)
    _set_groups(context)
    context.use_certificate(chain[0])
    for issuer in chain[1:]:
        context.add_extra_chain_cert(issuer)
    context.use_privatekey(key)  # type: ignore[arg-type]
    context.check_privatekey()
    wanted = tuple(alpn)

    def choose(_connection: SSL.Connection, offered: list[bytes]) -> bytes | object:
        # Twisted's own callback ends the handshake with internal_error when nothing overlaps.
        for protocol in wanted:
            if protocol in offered:
                return protocol
        return SSL.NO_OVERLAPPING_PROTOCOLS

    context.set_alpn_select_callback(choose)  # type: ignore[arg-type]
    return context


def _set_groups(context: SSL.Context) -> None:
    """Offer :data:`_GROUPS`, where the library can be told and has them all.

    pyOpenSSL has no way to say so; the function below it has. OpenSSL's own list, which stays
    otherwise, holds the same groups first, and some slower ones behind them.
    """
    function = getattr(getattr(SSL, "_lib", None), "SSL_CTX_set1_curves_list", None)
    handle = getattr(context, "_context", None)
    if function is not None and handle is not None and function(handle, _GROUPS) != 1:
        SSL._lib.ERR_clear_error()  # type: ignore[attr-defined]  # noqa: SLF001


def make_default_context(now: float, alpn: Sequence[bytes]) -> SSL.Context:
    """Return a context with a fresh self-signed certificate that is for no host at all."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "watchducks default")])
    begin = datetime.datetime.fromtimestamp(now, datetime.UTC) - datetime.timedelta(days=1)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + datetime.timedelta(days=3650))  # longer than any process lives
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName("default.watchducks.invalid")]),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    return make_context([certificate], key, alpn)
