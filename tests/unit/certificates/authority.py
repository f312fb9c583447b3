"""A certificate authority for tests: made in memory, used by files, proxies and origins."""

from __future__ import annotations

import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from twisted.internet.ssl import Certificate

_DAY = datetime.timedelta(days=1)


class Authority:
    """:ivar certificate: its own, self-signed."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Test Authority")])
        now = datetime.datetime.now(datetime.UTC)
        self.certificate = (
            x509.CertificateBuilder()
            .subject_name(self._name)
            .issuer_name(self._name)
            .public_key(self._key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _DAY)
            .not_valid_after(now + 30 * _DAY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False
            )
            .sign(self._key, hashes.SHA256())
        )

    @property
    def twisted(self) -> Certificate:
        """As a trust root for Twisted."""
        return Certificate.loadPEM(self.certificate.public_bytes(serialization.Encoding.PEM))

    def certify(
        self, *names: str, days: float = 10
    ) -> tuple[list[x509.Certificate], ec.EllipticCurvePrivateKey]:
        """Return a chain for ``names`` that expires in ``days`` (negative: it has), and a key."""
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")]))
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - 20 * _DAY)
            .not_valid_after(now + days * _DAY)
        )
        if names:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False
            )
        return [builder.sign(self._key, hashes.SHA256()), self.certificate], key

    def write(self, folder: Path, *names: str, days: float = 10) -> None:
        """Write a pair as the store reads it."""
        chain, key = self.certify(*names, days=days)
        folder.mkdir(parents=True, exist_ok=True)
        pem = b"".join(one.public_bytes(serialization.Encoding.PEM) for one in chain)
        (folder / "fullchain.pem").write_bytes(pem)
        private = folder / "privkey.pem"
        private.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        private.chmod(0o600)
