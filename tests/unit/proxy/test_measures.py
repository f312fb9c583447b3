"""What rows add up to for whoever watches the service."""

from __future__ import annotations

from tests.unit.journal.samples import row
from tests.unit.registry.examples import example_site
from watchducks.model.changes import Changes
from watchducks.model.rows import Row
from watchducks.proxy.measures import MAX_SITES, OTHER_SITES, Measures


class Kept:
    def __init__(self) -> None:
        self.rows: list[Row] = []

    def record(self, row: Row) -> None:
        self.rows.append(row)


def values(measures: Measures, name: str) -> dict[str, float]:
    """Return label's value -> value."""
    return {
        (sample.labels[0][1] if sample.labels else ""): sample.value
        for sample in measures.samples(7)
        if sample.name == name
    }


def test_rows_pass_and_are_counted() -> None:
    sink = Kept()
    measures = Measures(sink)
    rows = [
        row(status=200, response_bytes=5, request_bytes=1, duration_us=100, origin_us=50),
        row(status=204),
        row(status=502, reason="refused"),
        row(status=499),
        row(status=999),
        row(kind="connection", status=0),
    ]
    for each in rows:
        measures.record(each)
    assert sink.rows == rows
    answers = values(measures, "watchducks_requests_total")
    assert answers == {"none": 1, "1xx": 0, "2xx": 2, "3xx": 0, "4xx": 1, "5xx": 1}
    assert values(measures, "watchducks_own_answers_total") == {"refused": 1}
    assert values(measures, "watchducks_passed_connections_total") == {"": 1}
    assert values(measures, "watchducks_connections") == {"": 7}
    assert values(measures, "watchducks_body_bytes_total")["sent"] == sum(
        each.response_bytes for each in rows
    )
    assert values(measures, "watchducks_request_seconds_count") == {"": 5}


def test_sites_beyond_the_bound_share_one_series() -> None:
    measures = Measures(Kept())
    site = example_site("ducks.example")
    measures.apply(Changes(1, (site,), (), more=False))
    measures.record(row(site_id=site.id))
    for number in range(MAX_SITES + 5):
        measures.record(row(site_id=1000 + number))
    measures.record(row(site_id=site.id))
    counts = values(measures, "watchducks_site_requests_total")
    assert counts[site.name] == 2
    assert counts[OTHER_SITES] == 6
    assert len(counts) == MAX_SITES + 1
