from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.journal.mmdb import mmdb
from tests.unit.journal.samples import KNOWLEDGE, ROWS, file_of, row
from watchducks.journal.assets import WITNESSES, AssetWatch
from watchducks.journal.bots import Crawler
from watchducks.journal.channels import referrer_host
from watchducks.journal.enrich import Batch, days_of, enrich
from watchducks.journal.places import Places
from watchducks.journal.records import Decoded, decode
from watchducks.journal.sources import Knowledge
from watchducks.journal.visitors import DAY_US, NO_VISITOR, VisitorKeys, day_of, visitor_id
from watchducks.model.origins import Address
from watchducks.model.rows import (
    ASKS_OTHER,
    ASKS_PAGE,
    IS_ASSET,
    IS_OTHER,
    IS_PAGE,
    NO_TRACKING,
    Row,
)
from watchducks.model.sites import DEFAULT_CHOICES, SiteChoices

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
    batches = enrich([("node-1-0", read)], dict.fromkeys(days_of(read), KEY), KNOWLEDGE)
    assert sum(batch.rows for batch in batches) == len(rows)
    assert [batch.day for batch in batches] == sorted(days_of(read))
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
    (batch,) = enrich([("node-1-0", decoded(secret))], {TODAY: KEY}, KNOWLEDGE)
    assert column(batch, "path") == ["/p"]
    assert column(batch, "referrer_host") == ["other.test"]
    for word in ("198.51.100.77", "TellTale", "s3cret", "session"):
        assert word not in repr(batch)


CHROME = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/126.0.0.0 Safari/537"


def one_of(knowledge: Knowledge, *rows: Row) -> Batch:
    """The batch of some rows of today."""
    (batch,) = enrich([("node-1-0", decoded(*rows))], {TODAY: KEY}, knowledge)
    return batch


def test_who_asked_is_told_in_columns() -> None:
    crawler = "Mozilla/5.0 (compatible; GPTBot/1.2)"
    batch = one_of(KNOWLEDGE, row(user_agent=CHROME), row(user_agent=crawler))
    assert [column(batch, name) for name in ("browser", "browser_version", "system", "device")] == [
        ["Chrome", ""], ["126", ""], ["Windows", ""], ["desktop", ""],
    ]  # fmt: skip
    assert column(batch, "bot") == ["", "GPTBot"]
    assert column(batch, "bot_reason") == ["", "declared-ai-crawler"]
    assert (
        column(batch, "network") == column(batch, "country") == column(batch, "query") == ["", ""]
    )


def test_an_owners_choices_are_those_of_his_site_alone() -> None:
    chosen = SiteChoices(keep_networks=True, query_parameters="page q", honour_gpc=True)
    knowledge = Knowledge(choices=lambda site: chosen if site == 1 else DEFAULT_CHOICES)
    asked: dict[str, Any] = {"query": "q=b%20c&secret=1&page=2&q=d", "user_agent": CHROME}
    rows = [
        row(site_id=site, traits=traits, **asked) for site in (1, 2) for traits in (0, NO_TRACKING)
    ]
    batch = one_of(knowledge, *rows)
    assert column(batch, "query") == ["q=b c&page=2&q=d"] * 2 + [""] * 2
    assert column(batch, "network") == ["192.0.2.0/24", "", "", ""]
    ids = column(batch, "visitor")
    assert ids[1] == NO_VISITOR
    assert ids[0] == visitor_id(KEY, 1, "192.0.2.1", CHROME)
    assert ids[2] == ids[3] == visitor_id(KEY, 2, "192.0.2.1", CHROME)
    # Without id he counts all the same.
    assert column(batch, "page_view") == [1, 1, 1, 1]
    assert column(batch, "browser") == ["Chrome"] * 4
    for word in ("secret", "192.0.2.1"):
        assert word not in repr(batch)


def test_links_and_campaigns() -> None:
    batch = one_of(
        KNOWLEDGE,
        row(),
        row(referrer="https://www.google.co.kr/search?q=secret"),
        row(referrer="https://www.example.test/a", query="utm_source=X&utm_campaign=C"),
        row(query="utm_source=news&utm_medium=email"),
        row(kind="connection", host="", path=""),
    )
    assert column(batch, "channel") == ["direct", "search", "internal", "mail", ""]
    assert column(batch, "utm_source") == ["", "", "x", "news", ""]
    assert column(batch, "utm_medium") == ["", "", "", "email", ""]
    assert column(batch, "utm_campaign") == ["", "", "C", "", ""]
    assert column(batch, "path") == ["/0", "/0", "/0", "/0", ""]


@pytest.mark.parametrize(
    ("changes", "view"),
    [
        ({}, 1),
        ({"traits": IS_PAGE}, 1),
        ({"traits": ASKS_PAGE}, 1),
        ({"traits": ASKS_PAGE | IS_PAGE, "status": 304}, 1),
        ({"path": "/a", "status": 304}, 1),
        ({"path": "/a.php", "status": 304}, 1),
        ({"path": "/a.css", "status": 304}, 0),
        ({"path": "/v1.2/data.json"}, 0),
        ({"traits": ASKS_PAGE | IS_OTHER}, 0),
        ({"traits": ASKS_OTHER | IS_PAGE}, 0),
        ({"traits": IS_ASSET, "path": "/a"}, 0),
        ({"traits": IS_PAGE, "status": 404}, 0),
        ({"traits": IS_PAGE, "status": 301}, 0),
        ({"traits": IS_PAGE, "method": "POST"}, 0),
        ({"traits": IS_PAGE, "method": "HEAD"}, 0),
        ({"traits": IS_PAGE, "user_agent": "curl/8"}, 0),
        ({"kind": "connection", "status": 0}, 0),
    ],
)
def test_what_is_a_page_view(changes: dict[str, Any], view: int) -> None:
    batch = one_of(KNOWLEDGE, row(**changes), row(path="/x.css"))
    assert column(batch, "page_view") == [view, 0]


class Told:
    """Verdicts that a test says."""

    def __init__(self, verdict: bool | None) -> None:
        self._verdict = verdict

    def verdict(self, crawler: Crawler, address: Address) -> bool | None:
        return self._verdict


@pytest.mark.parametrize(
    ("verdict", "reason"),
    [(None, "declared-crawler"), (True, "verified-crawler"), (False, "false-crawler")],
)
def test_what_crawlers_say_is_checked(verdict: bool | None, reason: str) -> None:
    googlebot = row(user_agent="Mozilla/5.0 (compatible; Googlebot/2.1)")
    batch = one_of(Knowledge(verdicts=Told(verdict)), googlebot)
    assert (column(batch, "bot"), column(batch, "bot_reason")) == (["Googlebot"], [reason])
    # A published network needs nobody to ask; who publishes nothing stays what he says.
    published = row(user_agent="Applebot/0.1", client="17.58.97.1")
    unchecked = row(user_agent="Mozilla/5.0 (compatible; MJ12bot/v1.4)")
    batch = one_of(Knowledge(verdicts=Told(verdict)), published, unchecked)
    assert column(batch, "bot_reason") == ["verified-crawler", "declared-crawler"]


def test_what_is_remembered_of_a_source_is_not_what_may_change(tmp_path: Path) -> None:
    told = Told(None)
    chosen = {1: DEFAULT_CHOICES}
    networks = tmp_path / "n.txt"
    knowledge = Knowledge(
        places=Places(None, networks), choices=lambda site: chosen[site], verdicts=told
    )
    rows = [row(user_agent="Mozilla/5.0 (compatible; Googlebot/2.1)"), row(user_agent=CHROME)]

    def now() -> list[list[Any]]:
        batch = one_of(knowledge, *rows)
        return [column(batch, name) for name in ("bot_reason", "network")]

    assert now() == now() == [["declared-crawler", ""], ["", ""]]
    told._verdict = True
    assert now() == [["verified-crawler", ""], ["", ""]]
    chosen[1] = SiteChoices(keep_networks=True)
    assert now() == [["verified-crawler", ""], ["192.0.2.0/24"] * 2]
    networks.write_text("192.0.2.0/24\n")
    knowledge.refresh(0.0)
    assert now()[0] == ["verified-crawler", "data-centre"]
    # Another day's visitors are others.
    (batch,) = enrich([("n-1-0", decoded(rows[1]))], {TODAY: bytes(32)}, knowledge)
    assert column(batch, "visitor") != column(one_of(knowledge, rows[1]), "visitor")


def test_places_are_told(tmp_path: Path) -> None:
    (tmp_path / "c.mmdb").write_bytes(mmdb({"192.0.2.0/24": {"country": {"iso_code": "KR"}}}))
    (tmp_path / "n.txt").write_text("203.0.113.0/24\n")
    knowledge = Knowledge(places=Places(tmp_path / "c.mmdb", tmp_path / "n.txt"))
    knowledge.refresh(0.0)
    rows = [row(user_agent=CHROME), row(user_agent=CHROME, client="203.0.113.5")]
    batch = one_of(knowledge, *rows)
    assert column(batch, "country") == ["KR", ""]
    assert column(batch, "bot_reason") == ["", "data-centre"]
    assert column(batch, "browser") == ["Chrome", "Chrome"]
    assert column(batch, "page_view") == [1, 0]


def test_who_never_loads_parts_of_pages_is_found_out() -> None:
    watch = AssetWatch()

    def shipped(segment: str, *rows: Row) -> list[str]:
        read = decoded(*rows)
        (batch,) = enrich([(segment, read)], {TODAY: KEY}, KNOWLEDGE, watch)
        return column(batch, "bot_reason")

    pages = [row(number, user_agent=CHROME, traits=IS_PAGE) for number in range(15)]
    people = [
        row(n, client=f"198.51.100.{n}", user_agent=CHROME, traits=traits)
        for n in range(WITNESSES)
        for traits in (IS_PAGE, IS_ASSET)
    ]
    assert set(shipped("a", *pages, *people)) == {""}
    # The same segment again, after an outage, counts once.
    assert set(shipped("a", *pages, *people)) == {""}
    found = shipped("b", *pages, *people)
    assert found == ["no-assets"] * 15 + [""] * len(people)
    # On another site nobody loads anything from us, so that it says nothing.
    elsewhere = [one._replace(site_id=2) for one in pages * 3]
    assert set(shipped("c", *elsewhere)) == {""}
    # Who says what he wants pages for is a browser with a full cache.
    told = [one._replace(client="192.0.2.9", traits=ASKS_PAGE) for one in pages * 3]
    assert set(shipped("d", *told)) == {""}


def test_a_batch_is_of_one_day_and_always_the_same() -> None:
    midnight = (TODAY + 1) * DAY_US
    rows = [row(time_us=midnight), row(time_us=midnight - 1), row(time_us=midnight + 5)]
    batches = enrich([("node-1-0", decoded(*rows))], {TODAY: KEY}, KNOWLEDGE)
    assert [(batch.day, batch.segments, batch.rows) for batch in batches] == [
        (TODAY, (f"node-1-0/{TODAY}",), 1),
        (TODAY + 1, (f"node-1-0/{TODAY + 1}",), 2),
    ]
    assert column(batches[1], "segment") == [f"node-1-0/{TODAY + 1}"] * 2
    assert enrich([("node-1-0", decoded(*rows))], {TODAY: KEY}, KNOWLEDGE) == batches
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
    (batch,) = enrich([("n-1-0", decoded(row(kind="connection")))], {TODAY: KEY}, KNOWLEDGE)
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
