"""One certificate chain and its key: read, check, make a TLS context of it. No reactor."""

from __future__ import annotations

import datetime
import stat
from collections.abc import Sequence
from dataclasses import dataclass
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
# OpenSSL resumes sessions only among contexts of the same id. Ours have keys of their own anyway.
_SESSION_ID: Final = b"watchducks"


class BadPair(Exception):
    """The two files are of no use; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate that can be served.

    :ivar names: lower-case host names of the leaf; ``*.example.com`` among them.
    :ivar not_after: when it expires, POSIX seconds.
    """

    context: SSL.Context
    names: frozenset[str]
    not_after: float

    def covers(self, host: str) -> bool:
        """Return whether it is one for ``host`` (RFC 6125: a wildcard is one whole label)."""
        return host in self.names or wildcard_of(host) in self.names


def wildcard_of(host: str) -> str:
    """Return the wildcard name that covers ``host``: ``*.`` and all but its first label."""
    return f"*.{host.partition('.')[2]}"


def open_to_others(key: Path) -> bool:
    """Return whether users besides the owner and his group may read a key file."""
    return bool(key.stat().st_mode & stat.S_IROTH)


def read_pair(folder: Path, *, now: float, alpn: Sequence[bytes]) -> Pair:
    """Read and check ``fullchain.pem`` and ``privkey.pem`` of ``folder``. Blocks.

    :param now: POSIX seconds.
    :param alpn: the protocols we speak over it, the most wanted first.
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
        context = make_context(chain, key, alpn)
    except (SSL.Error, crypto.Error) as error:
        raise BadPair(f"OpenSSL refuses {chain_file} with its key: {error}") from error
    return Pair(context, names, not_after.timestamp())


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
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    context.set_session_id(_SESSION_ID)
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
