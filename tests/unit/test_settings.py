"""Settings: defaults, every kind of wrong value, secrets."""

from __future__ import annotations

import ipaddress
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchducks import settings
from watchducks.settings import SettingsError

MINIMAL = """
[proxy]
addresses = ["203.0.113.10", "2001:db8::10"]
[nameserver]
names = ["ns1.watchducks.example"]
"""


def parsed(text: str) -> settings.Settings:
    return settings.parse(tomllib.loads(text))


def problems_of(text: str) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        parsed(text)
    return caught.value.problems


def test_defaults_follow_the_data_directory() -> None:
    found = parsed('[node]\ndata_dir = "/srv/ducks"\n' + MINIMAL)
    assert found.registry.url == "sqlite:////srv/ducks/registry.sqlite"
    assert found.logs.url == "chdb:///srv/ducks/logs"
    assert found.key_file == Path("/srv/ducks/registry.key")
    assert found.cache.url == "memory:"
    assert found.node.roles == ("proxy", "nameserver", "console")
    assert found.proxy.addresses[1] == ipaddress.ip_address("2001:db8::10")
    assert (found.nameserver.health.down_after, found.nameserver.health.up_after) == (3, 5)
    assert found.own_addresses == set(found.proxy.addresses)


def test_a_key_file_of_its_own_is_used() -> None:
    assert parsed(MINIMAL + '[security]\nkey_file = "/srv/key"').key_file == Path("/srv/key")
    assert problems_of(MINIMAL + "[security]\nkey_file = 7") == [
        "security.key_file = 7: accepted is a text that is not empty"
    ]


@pytest.mark.parametrize("url", ["sqlite:///srv/registry.sqlite", "sqlite:////srv/registry.sqlite"])
def test_a_sqlite_url_is_an_absolute_path_with_three_slashes_as_with_four(url: str) -> None:
    assert parsed(MINIMAL + f'[registry]\nurl = "{url}"').registry.url == (
        "sqlite:////srv/registry.sqlite"
    )


@pytest.mark.parametrize(
    ("text", "fragments"),
    [
        ('[nod]\nname = "a"', ["nod = ", "unknown key", "did you mean node?"]),
        ("[nameserver]\nttll = 3", ["nameserver.ttll = 3", "did you mean ttl?"]),
        ('[logs]\ncluster = "ducks"', ["logs.cluster", "only with servers in logs.url"]),
        ('[logs]\ncluster = "a b"', ["logs.cluster", "remote_servers"]),
        ('[logs]\nurl = "clickhouse://one,other/db"', ["logs.url", "one host", "logs.cluster"]),
        (
            '[logs]\nurl = "clickhouse://one/db"\ncluster = "ducks"\nasync_insert = true',
            ["logs.async_insert", "only without logs.cluster"],
        ),
        (
            '[logs]\nurl = "clickhouse://u:p@one,/db"',
            ["logs.url", "clickhouse://user:password@host"],
        ),
        ('[logs]\nurl = "chdb://host/db"', ["logs.url", "chdb:///var/lib"]),
        ("[nameserver]\nttl = 0", ["nameserver.ttl = 0", "a whole number from 1 to 86400"]),
        ("[nameserver]\nttl = true", ["nameserver.ttl = True"]),
        ('[nameserver.health]\ninterval = "2"', ['nameserver.health.interval = "2"', "seconds"]),
        ("[nameserver.health]\ndown_after = 1.5", ["nameserver.health.down_after"]),
        ('[nameserver]\nlisten = ["udp:99999"]', ["nameserver.listen", "udp:PORT"]),
        ('[nameserver]\nlisten = "udp:53"', ["nameserver.listen", "a list"]),
        ('[proxy]\nhttp = ["tcp:eighty"]', ["proxy.http", "tcp:80"]),
        ('[proxy]\nhttp = ["tcp:70000"]', ["proxy.http"]),
        ('[proxy]\nhttp = ["gopher:70"]', ["proxy.http"]),
        ('[proxy]\naddresses = ["proxy.example.com"]', ["proxy.addresses", "IP addresses"]),
        ('[proxy]\nhttp = ["unix:/run/ducks"]', ["proxy.http", "endpoints on TCP"]),
        ('[proxy]\nhttps = ["systemd:domain=UNIX:index=0"]', ["proxy.https", "on TCP"]),
        ('[proxy]\nhttps = ["systemd:domain=INET"]', ["proxy.https", "systemd:NAME"]),
        ('[proxy]\ntrusted_peers = ["10.0.0.1/8"]', ["proxy.trusted_peers", "10.0.0.0/8"]),
        ('[proxy]\ntrusted_peers = ["balancer"]', ["proxy.trusted_peers"]),
        ("[proxy]\nclient_connections = -1", ["proxy.client_connections = -1", "from 0 to"]),
        ('[proxy]\nclient_requests_per_second = "9"', ["client_requests_per_second", "a number"]),
        ('[node]\nroles = ["cook"]', ["node.roles", '"proxy"', '"console"']),
        ("[node]\nroles = []", ["node.roles", "at least one"]),
        ('[node]\nroles = ["proxy", "proxy"]', ["node.roles", "none twice"]),
        ("[node]\nworkers = 65", ["node.workers = 65", "from 0 to 64", "auto"]),
        ("[node]\nworkers = false", ["node.workers = False"]),
        ('[node]\nname = "a/b"', ["node.name", "letters"]),
        ('[node]\nresolvers = ["dns.example"]', ["node.resolvers", "127.0.0.1:5353"]),
        ('[node]\nresolvers = ["192.0.2.53:99999"]', ["node.resolvers"]),
        ('[console]\nurl = "console"', ["console.url", "https://"]),
        ('[console]\nurl = "http://[::1"', ["console.url"]),
        ('[cache]\nurl = "memcached://h"', ["cache.url", "redis://"]),
        ('[registry]\nurl = "postgresql://h/d"', ["registry.url", "mysql+pymysql://"]),
        ('[registry]\nurl = "sqlite://"', ["registry.url"]),
        ('[mail]\nurl = "imap://h:25"', ["mail.url", "outbox:", "smtp://user:password@host:587"]),
        ('[mail]\nsender = "nobody"', ["mail.sender", "an e-mail address"]),
        (
            '[certificates]\ndirectory = "http://ca.example/"',
            ["certificates.directory", "https URL"],
        ),
        (
            '[certificates]\neab_key = "no key at all"',
            ["certificates.eab_key", "base64url"],
        ),
        (
            "[security]\nallow_private_origins = 1",
            ["security.allow_private_origins", "true or false"],
        ),
        ("proxy = 3", ["proxy = 3", "a table [proxy]"]),
    ],
)
def test_a_wrong_value_names_the_key_the_value_and_what_is_accepted(
    text: str, fragments: list[str]
) -> None:
    problem = "\n".join(problems_of(text))
    for fragment in fragments:
        assert fragment in problem


def test_trusted_peers_are_networks_and_limits_are_off() -> None:
    found = parsed(MINIMAL).proxy
    assert found.trusted_peers == ()
    assert (found.client_connections, found.client_requests_per_second) == (0, 0)
    found = parsed(
        MINIMAL.replace("[proxy]", '[proxy]\ntrusted_peers = ["10.0.0.0/8", "203.0.113.4", "::1"]')
    ).proxy
    assert [str(network) for network in found.trusted_peers] == [
        "10.0.0.0/8",
        "203.0.113.4/32",
        "::1/128",
    ]


def test_resolvers_have_port_53_unless_they_say_another() -> None:
    found = parsed(MINIMAL + '[node]\nresolvers = ["192.0.2.53", "127.0.0.1:5353", "[::1]:54"]')
    assert [(str(address), port) for address, port in found.node.resolvers] == [
        ("192.0.2.53", 53),
        ("127.0.0.1", 5353),
        ("::1", 54),
    ]


def test_every_wrong_key_is_told_at_once() -> None:
    assert len(problems_of("[nameserver]\nttl = 0\nttll = 1\n[node]\nworkers = 99")) == 3


def test_what_a_role_needs_is_asked_for() -> None:
    lines = problems_of("[node]\nroles = ['nameserver']")
    assert any(line.startswith("proxy.addresses") for line in lines)
    assert any(line.startswith("nameserver.names") for line in lines)
    assert parsed("[node]\nroles = ['proxy']").node.roles == ("proxy",)


def test_a_secret_may_come_from_a_file_and_is_never_shown(tmp_path: Path) -> None:
    secret = tmp_path / "url"
    secret.write_text("mysql+pymysql://ducks:quack@db/ducks\n")
    found = parsed(MINIMAL + f'[registry]\nurl_file = "{secret}"')
    assert found.registry.url.endswith("quack@db/ducks")
    assert "quack" not in repr(found)
    [line] = problems_of(MINIMAL + '[registry]\nurl = "oracle://ducks:quack@db/ducks"')
    assert "quack" not in line
    [line] = problems_of(MINIMAL + f'[registry]\nurl_file = "{tmp_path}/none"')
    assert line.startswith("registry.url_file")
    [line] = problems_of(MINIMAL + f'[registry]\nurl = "sqlite:///a"\nurl_file = "{secret}"')
    assert "keep one" in line


def test_load_tells_an_unreadable_file_and_bad_toml(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        settings.load(tmp_path / "missing.toml")
    for content in (b"[node", b"\xff\xfe"):
        (tmp_path / "bad.toml").write_bytes(content)
        with pytest.raises(SettingsError, match="not TOML"):
            settings.load(tmp_path / "bad.toml")


def test_the_shipped_example_holds_the_defaults() -> None:
    """etc/watchducks.toml documents every key, with the default that the code has."""
    document = tomllib.loads(Path("etc/watchducks.toml").read_text())
    example = settings.parse(document)
    for section, values in document.items():
        for key in values:
            assert hasattr(getattr(example, section), key)
    bare = settings.parse(
        {
            "node": {"name": example.node.name},
            "proxy": {"addresses": document["proxy"]["addresses"]},
            "nameserver": {
                "names": document["nameserver"]["names"],
                "addresses": document["nameserver"]["addresses"],
            },
        }
    )
    assert example == bare


_toml_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
_sections = {
    name: list(getattr(settings.parse(settings.embedded(Path("x"))), name).__slots__)
    for name in settings.Settings.__slots__
}


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    """Documents whose names are often right, so that the values are looked at."""
    document: dict[str, Any] = {}
    for section in draw(st.lists(st.sampled_from([*_sections, "extra"]), unique=True, max_size=4)):
        keys = st.sampled_from([*_sections.get(section, []), "url_file", "odd"])
        document[section] = draw(st.dictionaries(keys, _toml_values, max_size=4) | _toml_values)
    return document


@given(documents())
def test_any_document_gives_settings_or_lines_that_name_a_key(document: dict[str, Any]) -> None:
    problems: list[str] = []
    try:
        settings.parse(document)
    except SettingsError as error:
        problems = error.problems
        assert problems, "an error that says nothing"
    for line in problems:
        named = line.split(" ")[0].split(".")[0].rstrip(":")
        assert named in {*document, *_sections}


@pytest.mark.parametrize(
    ("security", "resolvers", "required"),
    [
        ({}, [], True),
        ({"allow_private_origins": True}, [], False),
        ({"allow_private_origins": True}, ["127.0.0.1:5353"], True),
        ({"allow_private_origins": True, "require_delegation": True}, [], True),
        ({"require_delegation": False}, ["127.0.0.1:5353"], False),
    ],
)
def test_delegation_is_required_unless_there_is_nobody_to_ask(
    security: dict[str, bool], resolvers: list[str], required: bool
) -> None:
    document = settings.embedded(Path("var"))
    document["security"] = security
    document["node"]["resolvers"] = resolvers
    assert settings.parse(document).cutover_rules.require_delegation is required
