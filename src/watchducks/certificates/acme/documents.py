"""What an authority's documents and chains say, and whether it is what was asked for. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from watchducks.certificates.acme.errors import AcmeError, Reason, Rejected, reason_in
from watchducks.certificates.acme.session import Answer


def location_of(answer: Answer) -> str:
    """Return the URL of the order that was made."""
    if not answer.location:
        raise AcmeError("the authority made an order without a URL")
    return answer.location


def url_in(document: Mapping[str, Any], name: str) -> str:
    """Return the URL called ``name``."""
    found = document.get(name)
    if not isinstance(found, str):
        raise AcmeError(f"the authority's answer lacks {name}")
    return found


def reason_of(authorization: Mapping[str, Any]) -> Reason:
    """Return why an authorization failed."""
    for challenge in authorization.get("challenges") or ():
        error = challenge.get("error") if isinstance(challenge, dict) else None
        if error:
            return reason_in(error)
    return Reason("", f"the authorization is {authorization.get('status')}")


def failed_order(order: Mapping[str, Any], names: Sequence[str]) -> AcmeError:
    """Return what it means that an order came to nothing."""
    if not order.get("error"):
        return AcmeError(f"the order is {order.get('status')}", kind="invalidOrder")
    reason = reason_in(order["error"])
    if len(names) == 1:
        return Rejected({names[0]: reason})
    return AcmeError(reason.words, kind=reason.kind or "invalidOrder")


def checked_chain(
    pem: bytes, names: Sequence[str], key: ec.EllipticCurvePrivateKey
) -> list[x509.Certificate]:
    """Return the chain if it is for our key and all our names.

    :raises AcmeError: it is not.
    """
    try:
        chain = x509.load_pem_x509_certificates(pem)
        found = chain[0].extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, x509.ExtensionNotFound) as error:
        raise AcmeError("the authority's certificate cannot be read") from error
    if chain[0].public_key() != key.public_key():
        raise AcmeError("the authority's certificate is for another key")
    missing = set(names) - {name.lower() for name in found.get_values_for_type(x509.DNSName)}
    if missing:
        raise AcmeError(f"the authority's certificate leaves out {', '.join(sorted(missing))}")
    return chain


def last_issuer(chain: Sequence[x509.Certificate]) -> str:
    """Return the common name of who signed a chain's last certificate, or ""."""
    found = chain[-1].issuer.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(found[0].value) if found else ""
