"""Whatever dies, and when: each answer that arrived has its row, once."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.servers.clickhouse import ClickHouse
from tests.system.appliance import Twistd
from tests.system.chaos import Chaos, Embedded, Server, compare, disk_of_its_own, rows_of
from tests.system.origin import Origin


@pytest.mark.timeout(180)
def test_a_short_chaos_loses_nothing_and_counts_nothing_twice(
    twistd: Callable[..., Twistd], clickhouse: ClickHouse, origin: Origin
) -> None:
    url = clickhouse.fresh_database()
    appliance = twistd(
        {
            "node": {"roles": ["proxy", "console"]},
            "logs": {"url": url, "flush_seconds": 0.2},
        }
    )
    with disk_of_its_own(appliance.data_dir / "spool") as disk:
        store = Server(clickhouse, url)
        chaos = Chaos(appliance, store, disk=disk)
        answered = chaos.run(origin, rounds=1, seed=1)
        rows = rows_of(appliance, store, 60)
    assert len(answered) > 50, "too little was asked to see anything"
    assert compare(answered, rows) == {"lost": [], "doubled": []}, chaos.happened


@pytest.mark.timeout(180)
def test_chdbs_process_is_killed_and_the_appliance_around_it(
    twistd: Callable[..., Twistd], origin: Origin
) -> None:
    pytest.importorskip("chdb")
    appliance = twistd({"node": {"roles": ["proxy", "console"]}, "logs": {"flush_seconds": 0.2}})
    store = Embedded(appliance, appliance.data_dir / "logs")
    chaos = Chaos(appliance, store, disk=False)
    answered = chaos.run(origin, rounds=1, seed=1)
    rows = rows_of(appliance, store, 60)
    assert len(answered) > 50, "too little was asked to see anything"
    assert compare(answered, rows) == {"lost": [], "doubled": []}, chaos.happened
