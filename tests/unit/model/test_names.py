"""Names: hosts, domains, zones, site names, mail addresses."""

from __future__ import annotations

import sys
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from watchducks.model.names import (
    MAX_DOMAIN_CHARACTERS,
    MAX_EMAIL_CHARACTERS,
    MAX_NAME_CHARACTERS,
    display_domain,
    name_key,
    normalise_domain,
    normalise_email,
    normalise_host,
    normalise_name,
    registrable_domain,
    zone_of,
)
from watchducks.model.problems import Problem
from watchducks.registry.schema import NAME_KEY_CHARACTERS

# Surrogates and everything else that a JSON body can hold.
ANYTHING = st.text(st.characters(exclude_categories=()), max_size=80)
HOSTLIKE = st.text("aAzZ09-._。 \u0130ßςéë\u0301\u200d漢오리xn--", max_size=30)


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("example.com", "example.com"),
        (" Example.COM. ", "example.com"),
        ("오리.한국", "xn--oy2b11u.xn--3e0b707e"),
        ("xn--oy2b11u.XN--3E0B707E", "xn--oy2b11u.xn--3e0b707e"),
        ("例え。jp。", "xn--r8jz45g.jp"),
        ("faß.de", "xn--fa-hia.de"),
        ("e\u0301xample.com", "xn--xample-9ua.com"),
        ("a", "a"),
        ("1.2.3.4", "1.2.3.4"),
        ("a" * 63 + ".example", "a" * 63 + ".example"),
        (".".join(["a" * 49] * 5) + ".ab", ".".join(["a" * 49] * 5) + ".ab"),
    ],
)
def test_hosts(text: str, host: str) -> None:
    assert normalise_host(text) == host


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        ".",
        "..",
        "a..b",
        "example.com..",
        ".example.com",
        "-a.example",
        "a-.example",
        "a_b.example",
        "*.example.com",
        "a b.example",
        "a\nb.example",
        "a\0.example",
        "http://example.com",
        "example.com/path",
        "example.com:80",
        "user@example.com",
        "[::1]",
        "xn--a.example",
        "xn--.example",
        "\ud800.example",
        "a" * 64 + ".example",
        ".".join(["a" * 62] * 4) + ".example",
        "\u202eexample.com",
    ],
)
def test_what_is_no_host(text: str) -> None:
    with pytest.raises(Problem):
        normalise_host(text)


@given(ANYTHING | HOSTLIKE)
@example("。")
@example("İ.example")
def test_a_host_is_normal_or_a_problem(text: str) -> None:
    try:
        host = normalise_host(text)
    except Problem:
        return
    assert normalise_host(host) == host
    assert host == host.lower()
    assert host.isascii()
    assert 1 <= len(host) <= MAX_DOMAIN_CHARACTERS
    assert all(1 <= len(label) <= 63 for label in host.split("."))
    assert normalise_host(display_domain(host)) == host


@pytest.mark.parametrize(
    ("domain", "zone"),
    [
        ("ducks.com", "ducks.com"),
        ("www.ducks.com", "ducks.com"),
        ("shop.ducks.com", "shop.ducks.com"),
        ("www.shop.ducks.com", "www.shop.ducks.com"),
        ("ducks.co.kr", "ducks.co.kr"),
        ("www.ducks.co.kr", "ducks.co.kr"),
        ("www.com", "www.com"),
        ("ducks.github.io", "ducks.github.io"),
        ("www.ducks.example", "ducks.example"),
        ("a.b.test", "a.b.test"),
        ("오리.한국", "xn--oy2b11u.xn--3e0b707e"),
    ],
)
def test_domains_and_their_zones(domain: str, zone: str) -> None:
    assert zone_of(normalise_domain(domain)) == zone


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("localhost", "single-label"),
        ("com", "single-label"),
        ("co.kr", "public-suffix"),
        ("github.io", "public-suffix"),
        ("203.0.113.7", "address"),
        ("ducks.lan", "unknown-suffix"),
        ("ducks.invalid", "unknown-suffix"),
        ("https://ducks.com", "url"),
        ("", "empty"),
    ],
)
def test_what_nobody_can_register(text: str, code: str) -> None:
    with pytest.raises(Problem) as caught:
        normalise_domain(text)
    assert caught.value.code == code


def test_a_closed_network_has_suffixes_of_its_own() -> None:
    assert normalise_domain("www.ducks.lan", closed_network=True) == "www.ducks.lan"
    assert zone_of("www.ducks.lan") == "ducks.lan"
    with pytest.raises(Problem):
        normalise_domain("co.kr", closed_network=True)


@given(ANYTHING | HOSTLIKE.map(lambda text: f"{text}.com"), st.booleans())
def test_a_domain_has_a_zone_or_is_a_problem(text: str, closed: bool) -> None:
    try:
        domain = normalise_domain(text, closed_network=closed)
    except Problem:
        return
    zone = zone_of(domain)
    assert domain in (zone, f"www.{zone}")
    assert domain.endswith(registrable_domain(domain))
    assert zone_of(zone) == zone
    assert normalise_domain(domain, closed_network=closed) == domain


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Ducks", "Ducks"),
        (" a ", "a"),
        ("1", "1"),
        ("a.b-c_d", "a.b-c_d"),
        ("오리떼", "오리떼"),
        ("हिन्दी", "हिन्दी"),
        ("เป็ด", "เป็ด"),
        ("Cafe\u0301", "Café"),
        ("\uff44ucks", "ducks"),
        ("x" * 63, "x" * 63),
        ("\u1112\u1161\u11ab" * 63, "한" * 63),
    ],
)
def test_site_names(text: str, name: str) -> None:
    assert normalise_name(text) == name


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "-a",
        ".",
        "..",
        "_a",
        "a b",
        "a/b",
        "a?b",
        "a%b",
        "a#b",
        "<b>",
        "a\n",
        "a\0b",
        "\u0301a",
        "a\u200db",
        "a\u202eb",
        "\ud800",
        "🦆",
        "½",
        "x" * 64,
        "\ufdfa" * 4,
    ],
)
def test_what_is_no_site_name(text: str) -> None:
    if text == "a\n":
        assert normalise_name(text) == "a"  # blanks around it are nobody's intention
        return
    with pytest.raises(Problem):
        normalise_name(text)


@given(ANYTHING | st.text(st.characters(categories=["L", "M", "N"]), max_size=70))
def test_a_name_is_normal_and_has_one_key(text: str) -> None:
    try:
        name = normalise_name(text)
    except Problem:
        return
    assert normalise_name(name) == name
    assert len(name) <= MAX_NAME_CHARACTERS
    key = name_key(name)
    assert name_key(key) == key
    assert name_key(name.upper()) == name_key(name.upper().upper())
    assert 0 < len(key) <= NAME_KEY_CHARACTERS
    assert not set(key) & set("/?#%&<>\"' \n\0")


def test_every_character_of_a_name_fits_into_its_key() -> None:
    for number in range(sys.maxunicode + 1):
        character = chr(number)
        if unicodedata.is_normalized("NFKC", character):
            key = name_key(character)
            assert len(key) <= NAME_KEY_CHARACTERS // MAX_NAME_CHARACTERS
            assert name_key(key) == key


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Ducks", "dUCKS"),
        ("STRASSE", "straße"),
        ("ΣΑΣ", "σας"),
        ("É", "e\u0301"),
        ("ß\u0301", "ss\u0301"),
    ],
)
def test_names_that_are_the_same(one: str, other: str) -> None:
    assert name_key(one) == name_key(other) == name_key(name_key(one))


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("a@b.example", "a@b.example"),
        (" First.Last+tag@Mail.EXAMPLE ", "First.Last+tag@mail.example"),
        ("o'neil@ducks.com", "o'neil@ducks.com"),
        ("a@오리.한국", "a@xn--oy2b11u.xn--3e0b707e"),
        ("a" * 64 + "@b.example", "a" * 64 + "@b.example"),
    ],
)
def test_mail_addresses(text: str, address: str) -> None:
    assert normalise_email(text) == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        "@b.example",
        "a@",
        "a@b",
        "a@@b.example",
        "a b@c.example",
        '"a b"@c.example',
        "a@[203.0.113.7]",
        "a@203.0.113.7",
        "a@b.example\nBcc: x@y.example",
        "a\r\n@b.example",
        "a@b.example, c@d.example",
        "Ann <a@b.example>",
        ".a@b.example",
        "a..b@c.example",
        "오리@b.example",
        "\ud800@b.example",
        "a" * 65 + "@b.example",
        "a" * 20 + "@" + ".".join(["b" * 60] * 4),
    ],
)
def test_what_is_no_mail_address(text: str) -> None:
    with pytest.raises(Problem):
        normalise_email(text)


@given(ANYTHING | st.from_regex(r"[a-zA-Z.+']{1,10}@[a-z0-9.-]{1,20}", fullmatch=True))
def test_a_mail_address_is_normal_or_a_problem(text: str) -> None:
    try:
        address = normalise_email(text)
    except Problem:
        return
    assert normalise_email(address) == address
    assert len(address) <= MAX_EMAIL_CHARACTERS
    assert address.isascii()
    assert address.count("@") == 1
    assert not any(character.isspace() for character in address)
