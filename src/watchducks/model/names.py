"""Names: domains, hosts, site and cohort names, e-mail addresses. Pure rules.

Domains are handled as lower-case A-labels without the trailing dot ("xn--..."), which is what DNS,
TLS and HTTP carry; :func:`display_domain` turns them back for people.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

import idna
from publicsuffixlist import PublicSuffixList

from watchducks.model.problems import Problem

# RFC 1035 section 2.3.4: 255 octets on the wire, which is 253 characters of text.
MAX_DOMAIN_CHARACTERS = 253
# Site names are shown in tables and are part of URLs; longer ones only break layouts.
MAX_NAME_CHARACTERS = 63
# RFC 5321 section 4.5.3.1.3: a path of 256 octets, less the angle brackets.
MAX_EMAIL_CHARACTERS = 254

# RFC 2606 and RFC 6761: nobody can register these, so using them harms nobody, and every guide and
# test is written with them.
DOCUMENTATION_SUFFIXES = frozenset({"example", "test"})

_HOST_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_EMAIL_LOCAL = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")


@lru_cache(maxsize=1)
def _suffixes() -> PublicSuffixList:
    # About 6 MB and 50 ms: made at the first use, so that `watchducks --version` does not pay it.
    return PublicSuffixList(accept_unknown=False)


def normalise_host(text: str) -> str:
    """Return ``text`` as a lower-case A-label host name without a trailing dot.

    :raises Problem: it is not a host name (RFC 1123, RFC 5891).
    """
    text = unicodedata.normalize("NFC", text.strip())
    if not text:
        raise Problem("empty", "Enter a domain name, such as www.example.com.")
    # What people paste: a URL instead of a domain. It is told apart so that the answer can help.
    if "://" in text or "/" in text:
        raise Problem("url", "Enter the domain alone, without http:// and without a path.")
    try:
        # The root's dot is removed afterwards: until then it may be another script's full stop.
        host = idna.encode(text, uts46=True).decode("ascii").removesuffix(".")
    except (idna.IDNAError, UnicodeError) as error:
        raise Problem("idna", "{value} is not a domain name.", value=text[:80]) from error
    if len(host) > MAX_DOMAIN_CHARACTERS or not all(
        _HOST_LABEL.fullmatch(label) for label in host.split(".")
    ):
        raise Problem("syntax", "{value} is not a domain name.", value=text[:80])
    return host


def normalise_domain(text: str, *, closed_network: bool = False) -> str:
    """Return ``text`` as a domain that somebody can register, or a name below one.

    :param closed_network: accept suffixes that the public suffix list does not know (``.lan``).
    :raises Problem: not a host name, an address, a public suffix itself, or an unknown suffix.
    """
    host = normalise_host(text)
    labels = host.split(".")
    if len(labels) < 2:
        raise Problem("single-label", "{value} has no dot: enter a full domain.", value=host)
    if labels[-1].isdigit():
        raise Problem("address", "{value} is an address; enter a domain name.", value=host)
    suffix = _suffixes().publicsuffix(host)
    if suffix is None and not closed_network and labels[-1] not in DOCUMENTATION_SUFFIXES:
        raise Problem(
            "unknown-suffix", "Nobody can register names under .{suffix}.", suffix=labels[-1]
        )
    if suffix == host:
        raise Problem(
            "public-suffix", "{value} is a public suffix, not a domain of one owner.", value=host
        )
    return host


def registrable_domain(domain: str) -> str:
    """Return the part of ``domain`` that its owner registered: example.co.kr of www.example.co.kr.

    ``domain`` is a result of :func:`normalise_domain`.
    """
    registrable = _suffixes().privatesuffix(domain)
    return registrable if registrable is not None else ".".join(domain.split(".")[-2:])


def zone_of(domain: str) -> str:
    """Return the zone that serves ``domain``.

    It is the registrable domain when the owner registers that or its ``www``; any other name
    becomes a zone of its own (a sub-zone delegated to us alone), so that registering
    ``shop.example.com`` does not claim the rest of ``example.com``.
    """
    registrable = registrable_domain(domain)
    return registrable if domain in (registrable, f"www.{registrable}") else domain


def display_domain(domain: str) -> str:
    """Return ``domain`` in the letters of its owner (U-labels), or unchanged if it cannot be."""
    try:
        return idna.decode(domain)
    except (idna.IDNAError, UnicodeError):
        return domain


def normalise_name(text: str, what: str = "name") -> str:
    """Return a site's or cohort's name: letters and digits of any script, ``-``, ``_`` and ``.``.

    Compatibility forms (fullwidth letters, ligatures) become the letters they stand for, so that
    the length counted is the length compared.

    :param what: how the message calls it.
    :raises Problem: empty, too long, or with characters that would need escaping in an URL.
    """
    text = unicodedata.normalize("NFKC", text.strip())
    if not text:
        raise Problem("empty", "Enter a {what}.", what=what)
    if len(text) > MAX_NAME_CHARACTERS:
        raise Problem("too-long", "At most {limit} characters.", limit=MAX_NAME_CHARACTERS)
    if not text[0].isalnum() or not all(map(_belongs_in_name, text)):
        raise Problem(
            "characters",
            "Use letters, digits, '-', '_' and '.', beginning with a letter or digit.",
        )
    return text


def _belongs_in_name(character: str) -> bool:
    # Many scripts write vowels as marks: without them there is no Hindi and no Thai.
    return (
        character.isalnum() or character in "-_." or unicodedata.category(character) in ("Mn", "Mc")
    )


def name_key(name: str) -> str:
    """Return what makes two names the same: ``Ducks`` and ``ducks`` cannot both be registered.

    At most three times as long as the name.
    """
    # Folding can undo the normal form, and a few characters fold only in it: hence around it.
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())


def normalise_email(text: str) -> str:
    """Return a mail address with its domain as A-labels.

    Quoted local parts and address literals (RFC 5321) are refused: no owner has one, and they are
    how header injection begins.

    :raises Problem: it is not ``local@domain``.
    """
    text = unicodedata.normalize("NFC", text.strip())
    local, at, domain = text.rpartition("@")
    problem = Problem("email", "Enter an e-mail address, such as you@example.com.")
    if not at or not _EMAIL_LOCAL.fullmatch(local) or len(local) > 64:
        raise problem
    try:
        host = normalise_host(domain)
    except Problem:
        raise problem from None
    # A single label is a machine of somebody's own; a number at the end is an IPv4 address.
    if "." not in host or host.rpartition(".")[2].isdigit():
        raise problem
    address = f"{local}@{host}"
    if len(address) > MAX_EMAIL_CHARACTERS:
        raise problem
    return address
