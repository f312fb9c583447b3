"""What owners are told of what was measured, from the traffic to the mail server, through kills."""

from __future__ import annotations

import re
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from email.message import EmailMessage
from pathlib import Path
from typing import Any, Final

import pytest

from tests.servers.clickhouse import ClickHouse
from tests.servers.mailserver import MailServer
from tests.servers.waiting import wait_until
from tests.system.appliance import BIN, Twistd, api, curl, curl_through, run
from tests.system.origin import Origin
from tests.system.paced import PacedTwistd
from tests.system.test_sign_in import Browser, mail, text  # noqa: F401  mail is a fixture
from watchducks.appliance.pace import Pace
from watchducks.notices.crier import SETTLED_SECONDS, Rhythm
from watchducks.notices.rules import USUAL_DAYS

OWNER: Final = "owner@ducks.example"
HOUR, DAY = 3600, 86_400
# Each site, with its requests of the hour that was looked at, and how many of them failed; and of
# each of the days before.
USUAL: Final = 210
SITES: Final[Mapping[str, tuple[int, int]]] = {
    "ducks": (1300, 0),
    "geese": (5, 0),
    "swans": (USUAL, 60),
}
PACE: Final = Pace(
    notices=Rhythm(
        failover_seconds=0.5, hour_seconds=0.5, brief_seconds=0.5, week_news_seconds=8 * DAY
    )
)
LETTER_SECONDS: Final = 30.0
SPIKE, DROP, ERRORS = "many more visitors", "far fewer visitors", "answers with errors"
BEGAN, ENDED = "go to your own servers", "come through us again"


@pytest.fixture
def appliances(
    tmp_path: Path,
    mail: MailServer,  # noqa: F811
    clickhouse: ClickHouse,
) -> Iterator[tuple[Twistd, Twistd]]:
    """A proxy, and a name server with console that watches it and the clock more closely."""
    shared: dict[str, dict[str, Any]] = {
        "registry": {"url": f"sqlite:///{tmp_path}/registry.sqlite"},
        "logs": {"url": clickhouse.fresh_database(), "flush_seconds": 0.2},
        "mail": {"url": mail.url(), "ca_file": str(mail.ca_file)},
        "security": {"key_file": str(tmp_path / "registry.key")},
    }
    proxy = Twistd(tmp_path / "proxy", {**shared, "node": {"name": "edge", "roles": ["proxy"]}})
    ports = {
        scheme: [f"tcp:{proxy.ports[scheme]}:interface=127.0.0.1"] for scheme in ("http", "https")
    }
    # A proxy that is only slow has time.
    health = {"interval": 0.5, "timeout": 2.0, "down_after": 3, "up_after": 2}
    roles = {"node": {"name": "rest", "roles": ["nameserver", "console"]}}
    rest = PacedTwistd(
        tmp_path / "rest",
        {**shared, **roles, "proxy": ports, "nameserver": {"health": health}},
        PACE,
    )
    try:
        yield proxy, rest
    finally:
        rest.stop()
        proxy.stop()


def access_log(hours: list[int], now: tuple[int, int]) -> str:
    """Return the log of a site's server: an ordinary week, and then these hours.

    :param now: how many requests each of them has, and how many of these fail.
    """
    lines = []
    for hour in hours:
        for day in range(USUAL_DAYS, -1, -1):
            requests, failed = (USUAL, 0) if day else now
            for number in range(requests):
                moment = time.gmtime(hour - day * DAY + number % HOUR)
                status = 500 if number < failed else 200
                stamp = time.strftime("%d/%b/%Y:%H:%M:%S +0000", moment)
                visitor = f"203.0.113.{number % 200}"
                lines.append((moment, f'{visitor} - - [{stamp}] "GET /pond HTTP/1.1" {status} 9\n'))
    return "".join(line for _, line in sorted(lines))


def hours_looked_at() -> list[int]:
    """Return the beginning of the hour that is looked at now, and of the next if it is close."""
    settled = int(time.time()) - SETTLED_SECONDS
    last = settled // HOUR * HOUR - HOUR
    return [last, last + HOUR] if settled % HOUR > HOUR - 240 else [last]


def settle(registry: Path) -> None:
    """Wait until the courier has written down what it has sent."""

    def none_waits() -> bool:
        with closing(sqlite3.connect(registry)) as connection:
            (count,) = connection.execute(
                "SELECT count(*) FROM letters WHERE state = 'waiting'"
            ).fetchone()
        return bool(count == 0)

    wait_until(none_waits, "no letter to wait", LETTER_SECONDS)


def told(server: MailServer, words: str) -> list[EmailMessage]:
    return [one for one in server.messages() if words in str(one["Subject"])]


@pytest.mark.timeout(240)
def test_owners_are_told_of_hours_weeks_and_failovers_once_and_in_order(
    appliances: tuple[Twistd, Twistd],
    mail: MailServer,  # noqa: F811
    clickhouse: ClickHouse,
    origin: Origin,
    tmp_path: Path,
) -> None:
    proxy, rest = appliances
    proxy.start()  # first: there is no failover yet
    rest.start()
    for name in SITES:
        fields = {"name": name, "domain": f"{name}.example", "origin": origin.url}
        assert api("POST", f"{rest.console}/api/v1/sites", {**fields, "email": OWNER})[0] == 201

    def active(name: str) -> Callable[[], bool]:
        url = f"http://{name}.example:{proxy.ports['http']}/"

        def visited() -> bool:
            _ = curl_through(proxy.proxy, url)
            return bool(api("GET", f"{rest.console}/api/v1/sites/{name}")[1]["state"] == "active")

        return visited

    for name in SITES:
        wait_until(active(name), "the first visitor to be seen", 15)
    # One that is taken when its courier dies would wait for minutes, and all behind it.
    wait_until(lambda: len(mail.messages()) == len(SITES), "the first letters", LETTER_SECONDS)
    settle(tmp_path / "registry.sqlite")
    rest.kill()

    # While nobody looks, the sites' former logs arrive; then the console comes back from its kill.
    hours = hours_looked_at()
    for name, now in SITES.items():
        log = tmp_path / f"{name}.log"
        log.write_text(access_log(hours, now))
        command = (BIN / "watchducks", "logs", "import", "--config", proxy.config)
        imported = run(*command, name, log, seconds=60)
        assert imported.returncode == 0, imported.stderr
    spool = proxy.data_dir / "spool"
    wait_until(lambda: not list(spool.glob("*.*")), "the rows to be stored", 30)
    rest.start()
    for words in (SPIKE, DROP, ERRORS):
        wait_until(lambda words=words: told(mail, words), words, LETTER_SECONDS)  # type: ignore[misc]
    (spike,), (drop,), (errors,) = (told(mail, words) for words in (SPIKE, DROP, ERRORS))
    assert ("ducks.example" in spike["Subject"], "1,300" in text(spike)) == (True, True)
    assert "geese.example" in drop["Subject"]
    assert "swans.example" in errors["Subject"]

    # The week's report has its picture, which mail programs show, and its figures as text.
    wait_until(lambda: len(told(mail, "your week")) == len(SITES), "the reports", LETTER_SECONDS)
    report = next(one for one in told(mail, "your week") if "ducks" in one["Subject"])
    (picture,) = [part for part in report.walk() if part.get_content_type() == "image/png"]
    html = report.get_body(("html",))
    assert html is not None
    assert f"cid:{picture['Content-ID'].strip('<>')}" in html.get_content()
    assert "/pond" in text(report)

    # His mail program stops such letters by one POST, without a cookie.
    assert report["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    link = str(report["List-Unsubscribe"]).strip("<>")
    assert link in text(report)
    stopping = curl("--fail", "--data", "List-Unsubscribe=One-Click", link)
    assert stopping.returncode == 0, stopping.stderr
    page = Browser(rest.console).get(link.removeprefix(rest.console))[1]
    assert "You get no more letters about this." in page

    # The proxy dies, and the console after it: each is told once, one after the other.
    proxy.kill()
    wait_until(lambda: told(mail, BEGAN), "the failover's letter", LETTER_SECONDS)
    settle(tmp_path / "registry.sqlite")
    rest.kill()
    rest.start()
    proxy.start()
    wait_until(lambda: told(mail, ENDED), "the letter of its end", LETTER_SECONDS)
    assert "ducks.example" in text(told(mail, BEGAN)[0])
    subjects = [str(one["Subject"]) for one in mail.messages()]
    counts = Counter(
        next(
            words for words in (SPIKE, DROP, ERRORS, "your week", BEGAN, ENDED, "") if words in one
        )
        for one in subjects
    )
    assert counts == {
        SPIKE: 1, DROP: 1, ERRORS: 1, "your week": len(SITES), BEGAN: 1, ENDED: 1, "": len(SITES)
    }  # fmt: skip
    assert subjects.index(next(one for one in subjects if BEGAN in one)) < subjects.index(
        next(one for one in subjects if ENDED in one)
    )
    numbers = [
        int(re.findall(r"<letter-(\d+)-", str(one["Message-ID"]))[0]) for one in mail.messages()
    ]
    assert numbers == sorted(numbers)
