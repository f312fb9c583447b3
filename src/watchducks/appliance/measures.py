"""Measures: what the parts counted, named for Prometheus."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final

from watchducks import __version__
from watchducks.appliance.house import House
from watchducks.lateness import Lateness
from watchducks.model.metrics import Sample, counter, gauge

if TYPE_CHECKING:
    from watchducks.health.prober import Health
    from watchducks.journal.losses import Losses
    from watchducks.journal.shipper import Shipper
    from watchducks.journal.spool import Spool
    from watchducks.mail.courier import Courier
    from watchducks.nameserver.responder import Responder
    from watchducks.routes import RouteTable

# Series of one metric: whoever lost less is in the sum.
MAX_LOSING_SITES: Final = 50


async def start_measuring(house: House) -> None:
    """Measure what every host has: its build, its turns, whether its stores can be reached."""
    lateness = Lateness(house.reactor)
    await house.run("the measure of lateness", lateness)
    house.measure(lateness.samples)
    house.measure(lambda: of_node(house.settings.node.name, house.checks()))


def of_node(name: str, checks: Mapping[str, bool]) -> Iterator[Sample]:
    yield gauge(
        "watchducks_build_info",
        "Always 1; the labels say what runs.",
        1,
        version=__version__,
        node=name,
    )
    for part, works in checks.items():
        yield gauge(
            "watchducks_part_ready",
            "1: the part can work now; 0: it cannot.",
            int(works),
            part=part,
        )


def of_the_spool(spool: Spool) -> Iterator[Sample]:
    yield counter(
        "watchducks_rows_recorded_total", "Rows that were taken into the spool.", spool.recorded
    )
    yield gauge(
        "watchducks_rows_held", "Rows in memory that the disk does not take.", spool.held_rows
    )


def of_the_shipper(shipper: Shipper, losses: Losses) -> Iterator[Sample]:
    yield counter(
        "watchducks_rows_shipped_total", "Rows that the log store acknowledged.", shipper.shipped
    )
    yield counter(
        "watchducks_rows_lost_total",
        "Rows that were given up, since the node's first start.",
        losses.rows,
    )
    # The sites that lost most: on a host with 100,000 a full disk would make as many series.
    worst = sorted(losses.by_site().items(), key=lambda item: -item[1].rows)[:MAX_LOSING_SITES]
    for site, loss in worst:
        yield counter(
            "watchducks_site_rows_lost_total",
            "Rows of a site that were given up, since the node's first start.",
            loss.rows,
            site=str(site),
        )
    yield gauge("watchducks_spool_bytes", "Size of the spool on disk.", shipper.spooled_bytes)
    yield gauge(
        "watchducks_shipper_lag_seconds",
        "For how long the oldest rows have waited for the log store.",
        shipper.lag_seconds,
    )
    yield counter(
        "watchducks_segments_rejected_total",
        "Segments that the log store refused, kept for a person to look at.",
        shipper.rejected,
    )


def of_the_courier(courier: Courier) -> Iterator[Sample]:
    yield counter("watchducks_letters_sent_total", "Letters that were sent.", courier.sent)
    yield counter(
        "watchducks_letters_failed_total",
        "Tries to send a letter that failed; most are repeated.",
        courier.failures,
    )
    yield counter(
        "watchducks_letters_given_up_total",
        "Letters that will not be tried again.",
        courier.given_up,
    )


def of_routes(routes: RouteTable) -> Iterator[Sample]:
    yield gauge("watchducks_known_hosts", "Hosts whose route is in memory.", routes.hosts)
    yield counter(
        "watchducks_route_look_ups_total",
        "Hosts whose route was not in memory when it was needed.",
        routes.look_ups,
    )


def of_dns(responder: Responder) -> Iterator[Sample]:
    from watchducks.nameserver.counts import RCODES

    for rcode, questions in responder.tally.items():
        yield counter(
            "watchducks_dns_questions_total",
            "Questions that were asked, by response code.",
            questions,
            rcode=RCODES.get(rcode, str(rcode)),
        )
    yield counter(
        "watchducks_dns_made_total",
        "Responses that were not ready in the cache and had to be made.",
        responder.made,
    )


def of_verdicts(health: Health) -> Iterator[Sample]:
    for verdict in health.verdicts():
        address = str(verdict.address)
        yield gauge(
            "watchducks_proxy_healthy",
            "1: DNS may lead visitors to this proxy; 0: it may not.",
            int(verdict.healthy),
            proxy=address,
        )
        yield gauge(
            "watchducks_proxy_verdict_seconds",
            "For how long that has been so.",
            max(0.0, time.time() - verdict.since),
            proxy=address,
        )
