"""What the ledger of roll-ups says: which makings count, whatever several hosts did at once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from watchducks.analytics.ledger import (
    ABANDONED,
    CLOSED,
    DOUBT,
    PUBLISHED,
    ROLLED,
    UNITS,
    WHOLE_DAY,
    Batch,
    Entry,
    Ledger,
    new_number,
    read,
)
from watchducks.analytics.planning import BATCH_ROWS, stretches
from watchducks.analytics.rolling import PIECE_ROWS, horizon_of, pieces
from watchducks.analytics.rollups import DAY, HOUR

TODAY = 20_000
FIRST, SECOND, THIRD = (number * UNITS for number in (1, 2, 3))


def batch(number: int, prev: int, *units: int, **changes: object) -> list[Entry]:
    made = Batch(number, TODAY, prev, set(units))
    for name, value in changes.items():
        setattr(made, name, value)
    return made.entries()


def published(number: int) -> Entry:
    return Entry(PUBLISHED, TODAY, number)


def doubt(number: int, unit: int, age: int = 0) -> Entry:
    return Entry(DOUBT, TODAY, number, unit, 0, f"segment-{number}", age)


def test_nothing_counts_before_it_is_published() -> None:
    begun = batch(FIRST, 0, 3, 4, covers=(0, TODAY * DAY))
    assert read(begun).dead == {FIRST + 3, FIRST + 4}
    assert read(begun).rolled_until == 0
    assert [one.number for one in read(begun).days[TODAY].open] == [FIRST]
    done = read([*begun, published(FIRST)])
    assert (done.dead, done.rolled_until) == (frozenset(), TODAY * DAY)
    assert done.days[TODAY].open == ()
    given_up = read([*begun, published(FIRST), Entry(ABANDONED, TODAY, FIRST)])
    assert given_up.dead == {FIRST + 3, FIRST + 4}


def test_of_two_on_top_of_the_same_the_lower_number_counts() -> None:
    entries = [
        *batch(FIRST, 0, 3),
        published(FIRST),
        *batch(SECOND, FIRST, 3, replaces={FIRST + 3}, settles={(3, 7, "segment-7")}),
        *batch(THIRD, FIRST, 3, replaces={FIRST + 3}, settles={(3, 9, "segment-9")}),
        doubt(7, 3),
        doubt(9, 3),
    ]
    assert read(entries).dead == {SECOND + 3, THIRD + 3}
    one = read([*entries, published(THIRD)])
    assert one.dead == {FIRST + 3, SECOND + 3}
    assert [left.number for left in one.doubts] == [7]
    both = read([*entries, published(THIRD), published(SECOND)])
    assert both.dead == {FIRST + 3, THIRD + 3}
    assert [left.number for left in both.doubts] == [9]
    assert both.days[TODAY].head == SECOND


def test_a_day_is_whole_until_one_of_its_hours_is_made() -> None:
    hours = [*batch(FIRST, 0, 3), published(FIRST)]
    assert read(hours).known().partial_days == {TODAY}
    whole = [*hours, *batch(SECOND, FIRST, WHOLE_DAY), published(SECOND)]
    assert not read(whole).known().partial_days
    assert read([*whole, *batch(THIRD, SECOND, 5), published(THIRD)]).known().partial_days
    nothing_new = [*whole, *batch(THIRD, SECOND, covers=(0, 5)), published(THIRD)]
    assert not read(nothing_new).known().partial_days


def test_what_is_doubted_is_asked_of_the_rows_unless_they_may_be_gone() -> None:
    hour = TODAY * DAY + 3 * HOUR
    known = read([doubt(7, 3)]).known()
    assert known.doubted == known.corrected == {hour}
    assert known.partial_days == {TODAY}
    old = read([Entry(DOUBT, TODAY, 7, 3, 1, "segment-7")]).known()
    assert old.corrected == {hour}
    assert not old.doubted | old.partial_days


def test_how_far_all_is_rolled_up() -> None:
    def covers(number: int, start: int, end: int) -> list[Entry]:
        return [
            entry._replace(day=TODAY + number)
            for entry in (
                *batch(number * UNITS, 0, covers=(start * HOUR, end * HOUR)),
                published(number * UNITS),
            )
        ]

    first, second, third = covers(1, 0, 5), covers(2, 5, 9), covers(3, 9, 12)
    assert read([*second, *first, *third]).rolled_until == 12 * HOUR
    assert read([*first, *third]).rolled_until == 5 * HOUR
    assert read([*third, Entry(ROLLED, 0, 5, other=9 * HOUR)]).rolled_until == 12 * HOUR


def test_what_is_closed_says_nothing_any_more() -> None:
    entries = [*batch(FIRST, 0, 3), Entry(CLOSED, TODAY, FIRST)]
    ledger = read(entries)
    assert (ledger.days, ledger.dead, ledger.closed) == ({}, frozenset(), {FIRST: True})
    assert read([Entry(CLOSED, TODAY, FIRST)]).closed == {FIRST: False}


def test_numbers_grow_and_have_room_for_their_units() -> None:
    assert new_number(5.0) % UNITS == 0
    assert new_number(1.8e9) < 2**63
    above = new_number(1.8e9)
    assert above + WHOLE_DAY < new_number(5.0, [3, above + 7])
    assert len({new_number(5.0) for _ in range(100)}) == 100


EVENTS = [
    *batch(FIRST, 0, 1, 2, covers=(0, 5 * HOUR)),
    published(FIRST),
    doubt(7, 1),
    *batch(SECOND, FIRST, 1, replaces={FIRST + 1}, settles={(1, 7, "segment-7")}),
    *batch(THIRD, FIRST, 1, replaces={FIRST + 1}),
    published(THIRD),
    published(SECOND),
    Entry(CLOSED, TODAY, 99),
]


@given(st.permutations(EVENTS), st.lists(st.sampled_from(EVENTS), max_size=5))
def test_neither_order_nor_repetition_matters(order: list[Entry], again: list[Entry]) -> None:
    def told(ledger: Ledger) -> object:
        return ledger.known(), ledger.doubts, ledger.days[TODAY].head

    assert told(read([*order, *again])) == told(read(EVENTS))


@given(
    st.dictionaries(st.integers(0, 2**32 - 1), st.integers(1, 3 * PIECE_ROWS), max_size=9),
    st.lists(st.integers(0, 2**32 - 1), max_size=5),
)
def test_pieces_have_every_site_once(counts: dict[int, int], others: list[int]) -> None:
    found = list(pieces(sorted(counts.items())))

    def has(condition: str, site: int) -> bool:
        return bool(eval(condition.replace("AND", "and"), {"site": site}))

    for site in [*counts, *others, 0, 2**32 - 1]:
        assert sum(has(condition, site) for condition, _ in found) == 1
    for condition, parts in found:
        rows = sum(count for site, count in counts.items() if has(condition, site))
        assert rows <= parts * PIECE_ROWS


def test_hours_are_rolled_up_by_the_day() -> None:
    def hours(*numbers: int) -> list[int]:
        return [number * HOUR for number in numbers]

    counts = [(hour, 1) for hour in hours(22, 23, 24, 50)]
    assert list(stretches(counts, 60 * HOUR)) == [
        (hours(22, 23), 24 * HOUR),
        (hours(24), 50 * HOUR),
        (hours(50), 60 * HOUR),
    ]
    assert list(stretches([], 60 * HOUR)) == [([], 60 * HOUR)]
    # What is too much for one batch is for the next time.
    busy = [(hour, BATCH_ROWS) for hour in hours(1, 2, 30)]
    assert list(stretches(busy, 60 * HOUR)) == [(hours(1), 2 * HOUR)]


def test_from_when_on_all_rows_are_there() -> None:
    assert horizon_of(100 * DAY + 1, 30) == 71 * DAY
    assert horizon_of(101 * DAY - 1, 30) == 72 * DAY
    assert horizon_of(100 * DAY, 1) == 100 * DAY
