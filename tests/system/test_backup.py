"""A backup of one appliance, restored to another with another database."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.servers.mariadb import MariaDB
from tests.system.appliance import BIN, Twistd, api, dig, run
from tests.system.origin import Origin


@pytest.mark.timeout(120)
def test_from_sqlite_to_mariadb(
    twistd: Callable[..., Twistd], mariadb: MariaDB, origin: Origin, tmp_path: Path
) -> None:
    old = twistd(name="old")
    old.start()
    body = {
        "name": "ducks",
        "domain": "www.ducks.example",
        "origin": origin.url,
        "email": "a@ducks.example",
    }
    status, site = api("POST", f"{old.console}/api/v1/sites", body)
    assert status == 201
    url = "{}/api/v1/sites/ducks"
    assert api("PATCH", url.format(old.console), {"dnssec": "on"}, site["token"])[0] == 200
    signed = api("GET", f"{url.format(old.console)}/dnssec")[1]
    certificate = Path("certificates") / "www.ducks.example" / "fullchain.pem"
    (old.data_dir / certificate).parent.mkdir(parents=True)
    (old.data_dir / certificate).write_text("a certificate")
    archive = tmp_path / "backup.tar.gz"
    done = run(BIN / "watchducks", "backup", "--config", old.config, archive)
    assert done.returncode == 0, done.stderr
    assert archive.stat().st_mode & 0o777 == 0o600
    again = run(BIN / "watchducks", "backup", "--config", old.config, archive)
    assert again.returncode == 1, "nothing is written over"
    old.stop()

    new = twistd({"registry": {"url": mariadb.fresh_database()}}, "new")
    new.write_config()
    new.data_dir.mkdir()
    done = run(BIN / "watchducks", "restore", "--config", new.config, archive)
    assert done.returncode == 0, done.stderr
    assert (new.data_dir / certificate).read_text() == "a certificate"
    assert (new.data_dir / "registry.key").stat().st_mode & 0o777 == 0o600
    again = run(BIN / "watchducks", "restore", "--config", new.config, archive)
    assert again.returncode == 1
    assert "is there already" in again.stderr
    (new.data_dir / "registry.key").rename(tmp_path / "key")
    (new.data_dir / certificate).unlink()
    (new.data_dir / "nameserver" / "cookie-secret").unlink()
    again = run(BIN / "watchducks", "restore", "--config", new.config, archive)
    assert again.returncode == 1
    assert "not empty" in again.stderr
    (tmp_path / "key").rename(new.data_dir / "registry.key")

    new.start()
    # The same owner, by his token; the same key, so that the DS at the registrar stays right.
    status, _ = api("PATCH", url.format(new.console), {"cohort": "pond"}, site["token"])
    assert status == 200
    assert api("GET", f"{url.format(new.console)}/dnssec")[1]["ds"] == signed["ds"]
    assert dig(new.ports["dns"], "ducks.example", "DNSKEY") != []


def test_what_is_no_backup_is_told(twistd: Callable[..., Twistd], tmp_path: Path) -> None:
    config = twistd().write_config()
    wrong = tmp_path / "wrong.tar.gz"
    wrong.write_bytes(b"quack")
    found = run(BIN / "watchducks", "restore", "--config", config, wrong)
    assert found.returncode == 1
    assert "cannot be read" in found.stderr
    assert "Traceback" not in found.stderr
