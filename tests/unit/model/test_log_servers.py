"""URLs of ClickHouse servers."""

from __future__ import annotations

import pytest

from watchducks.model.log_servers import LogServers, parse_log_servers


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (
            "clickhouse://duck:a%40b%2Cc:d@one:9001,other,[2001:db8::1]:9002,[::1]/logs",
            LogServers(
                (("one", 9001), ("other", 9000), ("2001:db8::1", 9002), ("::1", 9000)),
                "duck",
                "a@b,c:d",
                "logs",
            ),
        ),
        ("clickhouse://h/db", LogServers((("h", 9000),), "default", "", "db")),
        ("clickhouse://:secret@h/d%20b/", LogServers((("h", 9000),), "default", "secret", "d b")),
    ],
)
def test_a_url_is_read(url: str, expected: LogServers) -> None:
    assert parse_log_servers(url) == expected


@pytest.mark.parametrize(
    "url",
    [
        "clickhouse://default:s3cret@one,/db",
        "clickhouse://default:s3cret@one,:9000/db",
        "clickhouse://default:s3cret@one,two:99999/db",
        "clickhouse://default:s3cret@one,two:port/db",
        "clickhouse://default:s3cret@one,two",
        "clickhouse://default:s3cret@one,two/db/more",
        "clickhouse://default:s3cret@/db",
        "http://default:s3cret@one/db",
    ],
)
def test_a_wrong_one_is_an_error_that_tells_no_secret(url: str) -> None:
    with pytest.raises(ValueError, match=r"expected|port") as error:
        parse_log_servers(url)
    assert "s3cret" not in str(error.value)


def test_the_password_is_shown_nowhere() -> None:
    assert "s3cret" not in repr(parse_log_servers("clickhouse://default:s3cret@one/db"))
