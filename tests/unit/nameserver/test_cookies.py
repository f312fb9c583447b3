"""DNS cookies: the vectors of RFC 9018, what is valid, and the secret on disk."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.logger import Logger, capturedLogs

from watchducks.nameserver.cookies import (
    AHEAD_SECONDS,
    KEY_SECONDS,
    LIFE_SECONDS,
    MAX_REPEATED,
    RENEW_SECONDS,
    REPEAT_SECONDS,
    Cookies,
    kept_secret,
    server_cookie,
)
from watchducks.nameserver.wire import Malformed

HOST = "198.51.100.100"
CLIENT = bytes.fromhex("2464c4abcf10c957")
SECRET = b"s" * 32
LOG = Logger()


@pytest.mark.parametrize(
    ("client", "time", "host", "key", "expected"),
    [
        (
            "2464c4abcf10c957",
            1559731985,
            HOST,
            "e5e973e5a6b2a43f48e7dc849e37bfcf",
            "010000005cf79f111f8130c3eee29480",
        ),
        (
            "2464c4abcf10c957",
            1559734385,
            HOST,
            "e5e973e5a6b2a43f48e7dc849e37bfcf",
            "010000005cf7a871d4a564a1442aca77",
        ),
        (
            "22681ab97d52c298",
            1559741817,
            "2001:db8:220:1:59de:d0f4:8769:82b8",
            "dd3bdf9344b678b185a6f5cb60fca715",
            "010000005cf7c57926556bd0934c72f8",
        ),
    ],
)
def test_vectors_of_the_rfc(client: str, time: int, host: str, key: str, expected: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = server_cookie(
        bytes.fromhex(client), time, socket.inet_pton(family, host), bytes.fromhex(key)
    )
    assert made.hex() == expected


class Time:
    now = 1_790_000_000.0  # not near a change of keys

    def __call__(self) -> float:
        return self.now


def shown(option: bytes) -> bytes:
    """Return what a client shows that was sent this option."""
    assert option[:4] == bytes((0, 10, 0, 24))
    assert option[4:12] == CLIENT
    return option[4:]


@pytest.mark.parametrize(
    ("age", "valid", "renewed"),
    [
        (0, True, False),
        (RENEW_SECONDS, True, False),
        (RENEW_SECONDS + 1, True, True),
        (LIFE_SECONDS, True, True),
        (LIFE_SECONDS + 1, False, True),
        (-AHEAD_SECONDS, True, False),
        (-AHEAD_SECONDS - 1, False, True),
    ],
)
def test_a_cookie_is_valid_for_an_hour_and_renewed_after_half_of_it(
    age: int, valid: bool, renewed: bool
) -> None:
    time = Time()
    cookies = Cookies(SECRET, now=time)
    option, known = cookies.respond(CLIENT, HOST)
    assert not known
    time.now += age
    again, known = cookies.respond(shown(option), HOST)
    assert known is valid
    assert (again != option) is renewed
    assert cookies.respond(shown(again), HOST)[1]


def test_a_cookie_is_good_for_its_client_and_its_address_alone() -> None:
    cookies = Cookies(SECRET, now=Time())
    mine = shown(cookies.respond(CLIENT, HOST)[0])
    assert cookies.respond(mine, HOST)[1]
    assert cookies.respond(mine, f"::ffff:{HOST}")[1]  # the same, on a socket for both families
    assert not cookies.respond(mine, "198.51.100.101")[1]
    assert not cookies.respond(b"\0" + mine[1:], HOST)[1]
    for at in range(8, 24):
        assert not cookies.respond(mine[:at] + bytes((mine[at] ^ 1,)) + mine[at + 1 :], HOST)[1]
    assert not Cookies(b"t" * 32, now=Time()).respond(mine, HOST)[1]


def test_another_server_with_the_same_secret_agrees_also_across_a_change_of_keys() -> None:
    time = Time()
    time.now = 20_000 * KEY_SECONDS - 1.0
    mine = shown(Cookies(SECRET, now=time).respond(CLIENT, HOST)[0])
    time.now += 2
    other = Cookies(SECRET, now=time)
    assert other.respond(mine, HOST)[1]
    tomorrow = shown(other.respond(CLIENT, HOST)[0])
    assert server_cookie(CLIENT, int(time.now), socket.inet_aton(HOST), b"k" * 16) != tomorrow
    # Yesterday's key does not make today's cookies.
    assert Cookies._made(other, CLIENT, int(time.now), b"") != server_cookie(
        CLIENT, int(time.now), b"", other._keys[19_999]
    )


def test_clients_cannot_make_it_keep_keys() -> None:
    time = Time()
    cookies = Cookies(SECRET, now=time)
    for _ in range(30):
        cookies.respond(CLIENT, HOST)
        time.now += KEY_SECONDS
    assert len(cookies._keys) <= 3


@given(st.binary(max_size=50))
def test_lengths(option: bytes) -> None:
    cookies = Cookies(SECRET, now=Time())
    if len(option) == 8 or 16 <= len(option) <= 40:
        assert cookies.respond(option, HOST)[1] is False
    else:
        with pytest.raises(Malformed):
            cookies.respond(option, HOST)


def test_the_secret_is_made_once_and_nobody_else_can_read_it(tmp_path: Path) -> None:
    file = tmp_path / "nameserver" / "cookie-secret"
    secret = kept_secret(file, LOG)
    assert len(secret) == 32
    assert file.stat().st_mode & 0o777 == 0o600
    assert kept_secret(file, LOG) == secret
    file.write_bytes(b"cut off")
    new = kept_secret(file, LOG)
    assert new != secret
    assert kept_secret(file, LOG) == new


def test_without_a_disk_there_is_a_secret_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "nameserver").write_text("a file where the folder should be")
    with capturedLogs() as events:
        assert len(kept_secret(tmp_path / "nameserver" / "cookie-secret", LOG)) == 32
    assert len(events) == 2


def test_what_was_said_is_said_again_for_a_minute_and_no_longer() -> None:
    time = Time()
    cookies = Cookies(SECRET, now=time)
    first = cookies.respond(CLIENT, HOST)
    time.now += REPEAT_SECONDS
    assert cookies.respond(CLIENT, HOST) == first
    time.now += 1
    second = cookies.respond(CLIENT, HOST)
    assert second != first
    time.now -= 10_000  # the clock was wrong
    assert cookies.respond(CLIENT, HOST) not in (first, second)


def test_clients_cannot_make_it_remember_without_end() -> None:
    cookies = Cookies(SECRET, now=Time())
    for number in range(MAX_REPEATED + 5):
        cookies.respond(number.to_bytes(8, "big"), HOST)
    assert len(cookies._said) == 5
