"""Metrics of the real appliance, and the dashboard and alerts that read them."""

from __future__ import annotations

import json
import re
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.servers.ports import free_port
from tests.servers.process import find_program
from tests.servers.waiting import wait_until
from tests.system.appliance import ROOT, Twistd, api, curl_through, dig
from tests.system.origin import Origin

ALERTS = ROOT / "etc" / "prometheus" / "alerts.yml"
DASHBOARD = ROOT / "etc" / "grafana" / "watchducks.json"
# Of Prometheus itself, or of its library and tested there.
NOT_OURS = {"up", "process_cpu_seconds_total", "process_resident_memory_bytes"}


def dashboard_questions() -> list[str]:
    """Return what the panels ask, with Grafana's variables filled in."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    questions = [target["expr"] for panel in panels for target in panel["targets"]]
    return [
        question.replace("$__rate_interval", "1m").replace("$instance", ".*")
        for question in questions
    ]


def promtool(*arguments: str | Path, stdin: str = "") -> str:
    """Run promtool; what it finds wrong is the test's failure."""
    found = subprocess.run(
        [find_program("promtool"), *map(str, arguments)],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert found.returncode == 0, found.stdout + found.stderr
    return found.stdout + found.stderr


def named(text: str) -> set[str]:
    """Return the metrics that questions name."""
    return set(re.findall(r"\b(?:watchducks|process)_\w+\b|\bup\b(?=\{)", text))


def test_promtool_finds_nothing_wrong_with_alerts_and_dashboard(tmp_path: Path) -> None:
    assert "9 rules found" in promtool("check", "rules", ALERTS)
    rules = [{"record": f"q:{i}", "expr": q} for i, q in enumerate(dashboard_questions())]
    # JSON is YAML.
    written = tmp_path / "dashboard.yml"
    written.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    assert f"{len(rules)} rules found" in promtool("check", "rules", written)


@pytest.mark.timeout(120)
def test_every_metric_that_is_watched_exists(twistd: Callable[..., Twistd], origin: Origin) -> None:
    port = free_port()
    running = twistd({"node": {"metrics": [f"tcp:{port}:interface=127.0.0.1"]}})
    running.start()
    for name, where in (("ducks", origin.url), ("gone", f"http://127.0.0.1:{free_port()}")):
        site = {
            "name": name,
            "domain": f"{name}.example",
            "origin": where,
            "email": "owner@ducks.example",
            "cohort": "test",
        }
        assert api("POST", f"{running.console}/api/v1/sites", site)[0] == 201
        question = partial(dig, running.ports["dns"], f"{name}.example")
        wait_until(question, "DNS to know it", 10)
        curl_through(running.proxy, f"http://{name}.example:{running.ports['http']}/")

    def page(url: str) -> str:
        with urllib.request.urlopen(url, timeout=10) as response:
            assert response.headers["Content-Type"].startswith("text/plain; version=0.0.4")
            return str(response.read().decode())

    text = page(f"{running.console}/metrics")
    shown = {line.partition("{")[0].partition(" ")[0] for line in text.splitlines()}
    watched = named(ALERTS.read_text()) | named("\n".join(dashboard_questions()))
    assert watched > NOT_OURS
    assert watched - NOT_OURS - shown == set()
    assert 'watchducks_requests_total{answer="2xx"} 1.0' in text
    assert 'watchducks_site_requests_total{site="ducks"} 1.0' in text
    assert 'watchducks_part_ready{part="registry"} 1.0' in text
    assert 'watchducks_dns_questions_total{rcode="NOERROR"}' in text
    promtool("check", "metrics", stdin=text)

    elsewhere = page(f"http://127.0.0.1:{port}/metrics")
    assert "watchducks_requests_total" in elsewhere
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10)
    assert refused.value.code == 404
    refused.value.close()
