"""The OpenAPI document is true: schemathesis asks the running appliance what it allows."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.servers.waiting import wait_until
from tests.system.appliance import BIN, Twistd, api, curl_through, run
from tests.system.origin import Origin

# Questions to each endpoint, of which there are some thirty.
EXAMPLES = 5
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "unsupported_method",
    "ignored_auth",
)


def schemathesis(running: Twistd, token: str, directory: Path) -> subprocess.CompletedProcess[str]:
    """Ask every endpoint; those about one site are asked about one that there is, most times."""
    config = directory / "schemathesis.toml"
    config.write_text(
        f"""\
seed = 7
[parameters]
"path.name" = "ducks"
# Each value of each parameter by itself: a thousand questions about filters.
[phases.coverage]
enabled = false
[phases.stateful]
enabled = false
[[operations]]
include-method = "DELETE"
enabled = false
[[operations]]
include-path-regex = "/live$"
enabled = false
[auth.openapi.token]
bearer = {json.dumps(token)}
"""
    )
    return run(
        "env",
        "-C",
        directory,  # it keeps what it found in files beside it
        BIN / "schemathesis",
        "--config-file",
        config,
        "run",
        f"{running.console}/api/openapi.json",
        "--checks",
        ",".join(CHECKS),
        "--max-examples",
        str(EXAMPLES),
        "--generation-database",
        "none",
        "--no-color",
        seconds=150,
    )


@pytest.mark.timeout(180)
def test_the_api_answers_as_its_document_says(
    twistd: Callable[..., Twistd], origin: Origin, tmp_path: Path
) -> None:
    running = twistd({"logs": {"flush_seconds": 0.2}})
    running.start()
    site = {
        "name": "ducks",
        "domain": "ducks.example",
        "origin": origin.url,
        "email": "owner@ducks.example",
        "cohort": "test",
    }
    code, registered = api("POST", f"{running.console}/api/v1/sites", site)
    assert code == 201
    curl_through(running.proxy, f"http://ducks.example:{running.ports['http']}/")
    traffic = f"{running.console}/api/v1/sites/ducks/traffic"
    wait_until(lambda: api("GET", traffic)[1]["totals"]["requests"], "a row in the figures", 10)
    found = schemathesis(running, registered["token"], tmp_path)
    assert found.returncode == 0, found.stdout[-6000:] + found.stderr[-2000:]
