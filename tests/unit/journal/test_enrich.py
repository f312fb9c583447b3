from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.journal.samples import ROWS, file_of, row
from watchducks.journal.enrich import Batch, days_of, enrich, referrer_host
from watchducks.journal.records import Decoded, decode
from watchducks.journal.visitors import DAY_US, NO_VISITOR, VisitorKeys, day_of, visitor_id
from watchducks.model.rows import Row

KEY = bytes(range(32))
TODAY = day_of(row().time_us)


def column(batch: Batch, name: str) -> list[Any]:
    return batch.block.columns[name].values()


def decoded(*rows: Row) -> Decoded:
    return decode(file_of(*rows))


def assert_same(rows: list[Row], batches: list[Batch]) -> None:
    """Each row is in one of the batches, with its own values."""
    names = ("site", "time_us", "kind", "method", "host", "status", "response_bytes", "duration_us")
    found = [
        values
        for batch in batches
        for values in zip(*(column(batch, n) for n in names), strict=True)
    ]

    def storable(text: str) -> str:
        return text.encode("utf-8", "replace").decode()

    wanted = [
        (
            one.site_id,
            one.time_us,
            one.kind,
            storable(one.method),
            storable(one.host),
            one.status,
            one.response_bytes,
            one.duration_us,
        )
        for one in rows
    ]
    assert sorted(found) == sorted(wanted)


@given(st.lists(ROWS, max_size=10))
def test_any_rows_become_columns_that_a_store_takes(rows: list[Row]) -> None:
    read = decoded(*rows)
    batches = enrich(read, "node-1-0", dict.fromkeys(days_of(read), KEY))
    assert sum(batch.rows for batch in batches) == len(rows)
    assert len({batch.token for batch in batches}) == len(batches)
    for batch in batches:
        assert {len(values.values()) for values in batch.block.columns.values()} == {batch.rows}
        times = column(batch, "time")
        assert (min(times), max(times)) == (batch.first, batch.last)
        assert 0 <= batch.first <= batch.last <= 2**32 - 1
        assert len({time // 86400 for time in times}) == 1
    assert_same(rows, batches)


def test_neither_address_nor_user_agent_nor_query_is_shipped() -> None:
    secret = row(
        client="198.51.100.77",
        user_agent="TellTale/1.0",
        path="/p?session=s3cret#part",
        referrer="https://user:s3cret@Other.TEST:8443/x?token=s3cret",
    )
    (batch,) = enrich(decoded(secret), "node-1-0", {TODAY: KEY})
    assert column(batch, "path") == ["/p"]
    assert column(batch, "referrer_host") == ["other.test"]
    for word in ("198.51.100.77", "TellTale", "s3cret", "session"):
        assert word not in repr(batch)


def test_a_batch_is_of_one_day_and_its_token_is_stable() -> None:
    midnight = (TODAY + 1) * DAY_US
    rows = [row(time_us=midnight), row(time_us=midnight - 1), row(time_us=midnight + 5)]
    batches = enrich(decoded(*rows), "node-1-0", {TODAY: KEY})
    assert [(batch.token, batch.rows) for batch in batches] == [
        (f"node-1-0/{TODAY}", 1),
        (f"node-1-0/{TODAY + 1}", 2),
    ]
    assert enrich(decoded(*rows), "node-1-0", {TODAY: KEY}) == batches
    # The second day's key was destroyed: rows count, visitors are not known.
    assert column(batches[1], "visitor") == [NO_VISITOR, NO_VISITOR]
    assert column(batches[0], "visitor") == [visitor_id(KEY, 1, "192.0.2.1", "Mozilla/5.0")]


def test_visitors_differ_by_each_part_and_by_day() -> None:
    ids = {
        visitor_id(KEY, 1, "a", "b"),
        visitor_id(KEY, 2, "a", "b"),
        visitor_id(KEY, 1, "ab", ""),
        visitor_id(KEY, 1, "a", "c"),
        visitor_id(bytes(32), 1, "a", "b"),
    }
    assert len(ids) == 5
    assert visitor_id(KEY, 1, "a", "b") in ids
    (batch,) = enrich(decoded(row(kind="connection")), "n-1-0", {TODAY: KEY})
    assert column(batch, "visitor") == [NO_VISITOR]


@pytest.mark.parametrize(
    ("referrer", "host"),
    [
        ("https://Example.test/a", "example.test"),
        ("http://example.test:80", "example.test"),
        ("https://[2001:DB8::1]:443/", "[2001:db8::1]"),
        ("https://user@example.test?x=@evil.test", "example.test"),
        ("https://example.test#frag", "example.test"),
        ("android-app://com.example.app/", "com.example.app"),
        ("", ""),
        ("about:blank", ""),
        ("javascript:alert(1)", ""),
        ("https://", ""),
        ("https://two words.test/", ""),
        ("https://example.test:port/", ""),
        ("/relative", ""),
        ("https://" + "x" * 300, ""),
    ],
)
def test_referrer_host(referrer: str, host: str) -> None:
    assert referrer_host(referrer) == host


def test_keys_are_kept_for_their_day_and_then_destroyed(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    keys = VisitorKeys(path)
    assert keys.load()
    first = dict(keys.keys_of([5, 6]))
    assert path.stat().st_mode & 0o777 == 0o600
    assert len(set(first.values())) == 2

    again = VisitorKeys(path)
    assert again.load()
    assert dict(again.keys_of([5, 6])) == first
    again.destroy_before(6)
    assert first[5].hex() not in path.read_text()
    # A late row of that day gets no new key, not even after a restart.
    last = VisitorKeys(path)
    assert last.load()
    assert dict(last.keys_of([4, 5, 6])) == {6: first[6]}


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"keys": {"x": "y"}}', '{"keys": 3}', "\0"])
def test_a_damaged_key_file_counts_as_none(tmp_path: Path, content: str) -> None:
    path = tmp_path / "keys.json"
    path.write_text(content)
    keys = VisitorKeys(path)
    assert not keys.load()
    assert len(keys.keys_of([1])[1]) == 32


def test_keys_that_cannot_be_written_are_used_and_written_later(tmp_path: Path) -> None:
    directory = tmp_path / "journal"
    keys = VisitorKeys(directory / "keys.json")
    key = keys.keys_of([1])[1]
    directory.mkdir()
    assert keys.keys_of([1])[1] == key
    again = VisitorKeys(directory / "keys.json")
    again.load()
    assert again.keys_of([1])[1] == key
