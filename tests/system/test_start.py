"""Starting: what cannot work ends with exit code 1 and one clear line, and nothing else."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.servers.ports import free_port
from tests.system.appliance import BIN, Twistd, api, run

Make = Callable[..., Twistd]


def the_line(stderr: str) -> str:
    lines = [line for line in stderr.splitlines() if line.startswith("watchducks: ")]
    assert len(lines) == 1, stderr
    assert "Traceback" not in stderr
    return lines[0]


@pytest.mark.parametrize(
    ("port", "key"),
    [("http", "proxy.http"), ("dns", "nameserver.listen"), ("console", "console.http")],
)
def test_a_port_that_is_taken(twistd: Make, port: str, key: str) -> None:
    appliance = twistd()
    with socket.create_server(("127.0.0.1", appliance.ports[port])):
        code, stderr = appliance.fails_to_start()
    assert code == 1
    line = the_line(stderr)
    assert key in line
    assert str(appliance.ports[port]) in line
    assert "in use" in line


def test_a_registry_that_is_unreachable_at_the_first_start(twistd: Make) -> None:
    port = free_port("tcp")
    url = f"mysql+pymysql://ducks:quack@127.0.0.1:{port}/ducks"
    code, stderr = twistd({"registry": {"url": url}}).fails_to_start()
    assert code == 1
    line = the_line(stderr)
    assert line.startswith("watchducks: registry.url:")
    assert f"127.0.0.1:{port}" in line
    assert "quack" not in stderr


def test_a_log_store_that_is_unreachable_at_the_first_start(twistd: Make) -> None:
    port = free_port("tcp")
    url = f"clickhouse://ducks:quack@127.0.0.1:{port}/ducks"
    code, stderr = twistd({"logs": {"url": url}}).fails_to_start()
    assert code == 1
    line = the_line(stderr)
    assert line.startswith("watchducks: logs.url:")
    assert f"127.0.0.1:{port}" in line
    assert "quack" not in stderr


def test_a_wrong_value(twistd: Make) -> None:
    code, stderr = twistd({"nameserver": {"ttl": 0}}).fails_to_start()
    assert code == 1
    assert the_line(stderr) == (
        "watchducks: nameserver.ttl = 0: accepted is a whole number from 1 to 86400"
    )


def test_check_says_the_same_without_starting(twistd: Make) -> None:
    good = twistd().write_config()
    found = run(BIN / "watchducks", "check", "--config", good)
    assert (found.returncode, found.stderr) == (0, "")
    assert "is right" in found.stdout
    bad = twistd({"nameserver": {"tll": 3}, "node": {"roles": ["cook"]}}, "bad").write_config()
    found = run(BIN / "watchducks", "check", "--config", bad)
    assert found.returncode == 1
    assert "did you mean ttl?" in found.stderr
    assert "node.roles" in found.stderr
    absent = twistd({"cache": {"url": f"redis://:pw@127.0.0.1:{free_port('tcp')}/0"}}, "absent")
    found = run(BIN / "watchducks", "check", "--config", absent.write_config())
    assert found.returncode == 1
    assert "cache.url: nothing answers" in found.stderr
    assert "pw" not in found.stderr


def test_twistd_help_lists_it_and_an_unknown_option_is_told(tmp_path: Path) -> None:
    assert "watchducks" in run(BIN / "twistd", "--help").stdout
    found = run(BIN / "twistd", "-n", f"--pidfile={tmp_path}/p", "watchducks", "--confg=x")
    assert found.returncode == 1


@pytest.mark.parametrize(
    ("options", "reactor"),
    [
        ([], "watchducks.reactor.loop.FastEPollReactor"),
        (["--reactor", "epoll"], "twisted.internet.epollreactor.EPollReactor"),
    ],
)
def test_the_reactor_is_ours_unless_another_is_named(
    twistd: Make, options: list[str], reactor: str
) -> None:
    appliance = twistd()
    appliance.options = options
    appliance.start()
    assert f"reactor class: {reactor}" in appliance.log.read_text()


@pytest.mark.timeout(120)
def test_the_commands_of_an_owner(twistd: Make) -> None:
    appliance = twistd()
    appliance.start()
    tool = (BIN / "watchducks", "site")
    url = ("--url", appliance.console)
    added = run(*tool, "add", "Ducks", "www.ducks.example", "203.0.113.7", "a@ducks.example", *url)
    assert added.returncode == 0, added.stderr
    token = next(line.split()[-1] for line in added.stdout.splitlines() if line.startswith("token"))
    assert run(*tool, "list", *url).stdout.split("\t")[:2] == ["Ducks", "www.ducks.example"]
    wrong = run(*tool, "add", "ducks", "http://x/", "nowhere", "a@ducks.example", *url)
    assert wrong.returncode == 1
    assert "domain: " in wrong.stderr
    assert "origin: " in wrong.stderr
    refused = run(*tool, "remove", "Ducks", *url)
    assert refused.returncode == 1
    removed = run(*tool, "remove", "Ducks", *url, "--token", token)
    assert removed.returncode == 0, removed.stderr
    assert api("GET", f"{appliance.console}/api/v1/sites/Ducks")[0] == 404
    admin = run(BIN / "watchducks", "token", "--config", appliance.config)
    assert admin.returncode == 0, admin.stderr
    assert admin.stdout.startswith("wd_")
    status = run(BIN / "watchducks", "status", *url)
    assert status.returncode == 0
    appliance.stop()
    gone = run(BIN / "watchducks", "status", *url)
    assert gone.returncode == 1
    assert "is the appliance running?" in gone.stderr
