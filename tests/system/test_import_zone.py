"""A zone file, imported with the command and asked for with dig: the real appliance."""

from __future__ import annotations

from collections.abc import Callable

from tests.servers.waiting import wait_until
from tests.system.appliance import BIN, Twistd, api, dig, run

ZONE = "ducks.example"
# The feed brings a change within a second.
FELT_SECONDS = 5.0
FILE = f"""\
$ORIGIN {ZONE}.
$TTL 5m
@    SOA ns1.old.example. hostmaster 1 2 3 4 5
@    NS  ns1.old.example.
@    MX  10 mail
www  A   203.0.113.9
mail A   203.0.113.8
"""


def test_a_zone_file_is_imported_and_answered(twistd: Callable[..., Twistd]) -> None:
    appliance = twistd()
    appliance.start()
    port = appliance.ports["dns"]
    fields = {"name": "ducks", "domain": ZONE, "origin": "127.0.0.9", "email": "o@ducks.example"}
    code, site = api("POST", f"{appliance.console}/api/v1/sites", fields)
    assert code == 201, site
    file = appliance.directory / "ducks.zone"
    file.write_text(FILE)

    def command(*arguments: str) -> tuple[int, str, str]:
        tool = (BIN / "watchducks", "site", "import-zone", "--config", appliance.config, "ducks")
        found = run("env", f"WATCHDUCKS_TOKEN={site['token']}", *tool, *arguments)
        return found.returncode, found.stdout, found.stderr

    said = [
        "+ @\t300\tMX\t10 mail.ducks.example.",
        "+ mail\t300\tA\t203.0.113.8",
        "! line 3: SOA: our name servers make it themselves.",
        "! line 4: NS: our name servers make it themselves.",
        "! line 6 (www): www is proxied, so its addresses are ours; this one is not kept.",
    ]
    code, output, _ = command(str(file), "--dry-run")
    assert (code, output.splitlines()) == (
        0,
        [*said, "2 added, 0 removed, 3 notes. Nothing is kept."],
    )
    assert dig(port, ZONE, "MX") == []
    code, output, _ = command(str(file))
    assert (code, output.splitlines()) == (0, [*said, "2 added, 0 removed, 3 notes."])
    wait_until(
        lambda: dig(port, ZONE, "MX") == ["10", "mail.ducks.example."],
        "the MX record",
        FELT_SECONDS,
    )
    assert dig(port, f"mail.{ZONE}", "A") == ["203.0.113.8"]

    file.write_text("mail 60 TXT x\nmail 60 A 203.0.113\n")
    code, _, errors = command(str(file), "--replace")
    assert (code, errors.startswith("watchducks: zonefile: Line 2 ")) == (1, True)
    code, _, errors = command(str(file.with_name("nothing")))
    assert (code, "No such file" in errors) == (1, True)
    file.write_text("mail 60 TXT x\n")
    code, output, _ = command(str(file), "--replace")
    assert (code, output.splitlines()[-1]) == (0, "1 added, 2 removed, 0 notes.")
