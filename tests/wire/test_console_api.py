"""The JSON API: sites, owners, figures, and what is told of wrong requests."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import pytest_twisted

from tests.unit.console.driver import GOOD, NAMESERVERS, Driver, Reply
from watchducks.certificates.failover import EXPIRED
from watchducks.console.figures import rfc3339
from watchducks.model.certificates import CertificateProgress, Trouble
from watchducks.model.cutover import Finding, Progress
from watchducks.model.scans import Note
from watchducks.model.verdicts import FailoverReport, OriginReport


@pytest.fixture
def driver() -> Driver:
    return Driver()


def assert_problem(reply: Reply, status: int, code: str) -> dict[str, Any]:
    """Check a problem document (RFC 9457) and return it."""
    assert reply.status == status, reply.text
    assert reply.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = reply.json
    assert document["status"] == status
    assert document["type"].rpartition(":")[2] == code
    assert document["title"]
    assert document["detail"]
    return document


def test_registering(driver: Driver) -> None:
    reply = driver.api("POST", "/api/v1/sites", GOOD)
    assert (reply.status, reply.headers["location"]) == (201, "/api/v1/sites/ducks")
    assert reply.headers["cache-control"] == "no-store"
    assert reply.json == {
        "name": "ducks",
        "domain": "ducks.example",
        "display_domain": "ducks.example",
        "zone": "ducks.example",
        "hosts": ["ducks.example", "www.ducks.example"],
        "origin": "203.0.113.7",
        "cohort": "first",
        "state": "registered",
        "created": "2026-11-18T11:06:40Z",
        "origin_tls": "verify",
        "origin_pin": "",
        "redirect_to_https": False,
        "hsts_seconds": 0,
        "keep_networks": False,
        "query_parameters": "",
        "honour_gpc": False,
        "ranked": True,
        "dnssec": False,
        "visibility": "public",
        "share": "",
        "drill_until": None,
        "suspended": False,
        "nameservers": NAMESERVERS,
        "origin_health": None,
        "email": "owner@ducks.example",
        "token": "wd_token-1",
    }
    again = assert_problem(driver.api("POST", "/api/v1/sites", GOOD), 409, "conflict")
    assert set(again["errors"]) == {"name", "domain"}


def test_a_public_site_is_shown_without_its_owner(driver: Driver) -> None:
    token = driver.api("POST", "/api/v1/sites", GOOD).json["token"]
    public = driver.api("GET", "/api/v1/sites/Ducks").json
    assert public["origin"] == "203.0.113.7"
    assert "email" not in public
    assert "token" not in public
    assert driver.api("GET", "/api/v1/sites/ducks", token=token).json["email"]
    assert_problem(driver.api("GET", "/api/v1/sites/ducks", token="wd_no"), 403, "forbidden")


def test_whether_the_origin_answers(driver: Driver) -> None:
    driver.api("POST", "/api/v1/sites", GOOD)
    began, asked = 1_795_000_000.25, 1_795_000_060.5
    driver.origins.reports[1] = OriginReport(None, began, asked)
    health = {"answers": True, "since": rfc3339(int(began)), "asked": rfc3339(int(asked))}
    assert driver.api("GET", "/api/v1/sites/ducks").json["origin_health"] == {
        **health,
        "reason": None,
        "failover": None,
    }
    failure = Note("origin", "no answer within {seconds} s", {"seconds": "10"})
    broken = FailoverReport(EXPIRED, asked)
    driver.origins.reports[1] = OriginReport(failure, began, asked, broken)
    (listed,) = driver.ask("GET", "/api/v1/sites", headers={"Accept-Language": "ko"}).json["sites"]
    assert listed["origin_health"] == {
        **health,
        "answers": False,
        "reason": "10초 안에 응답 없음",
        "failover": {
            "would_work": False,
            "checked": rfc3339(int(asked)),
            "reason": "서버의 인증서가 만료되었습니다",
        },
    }


def test_wrong_fields_are_all_told(driver: Driver) -> None:
    body = {"name": 5, "domain": "co.kr", "origin": "10.0.0.1", "odd": None, "email": "\ud800"}
    document = assert_problem(driver.api("POST", "/api/v1/sites", body), 422, "invalid-fields")
    assert {field: error["code"] for field, error in document["errors"].items()} == {
        "name": "type",
        "domain": "public-suffix",
        "origin": "reserved-address",
        "email": "control-characters",
        "odd": "unknown-field",
    }
    assert all(error["message"] for error in document["errors"].values())
    assert driver.sites.by_key == {}


def test_an_owner_signs_his_zone(driver: Driver) -> None:
    token = driver.api("POST", "/api/v1/sites", GOOD).json["token"]
    path, keys = "/api/v1/sites/ducks", "/api/v1/sites/ducks/dnssec"
    unsigned = {"site": "ducks", "zone": "ducks.example", "dnssec": False, "phase": "off"}
    nothing: dict[str, object] = {"until": None, "ds": [], "keys": []}
    assert driver.api("GET", keys).json == unsigned | nothing

    driver.sites.now = driver.clock.seconds()
    assert driver.api("PATCH", path, {"dnssec": True}, token).json["dnssec"] is True
    beginning = driver.api("GET", keys).json
    # The DS is not given away while somebody may hold answers without signatures.
    assert (beginning["phase"], beginning["ds"]) == ("beginning", [])
    assert beginning["until"] == rfc3339(int(driver.sites.now) + 3 * 3600)
    driver.clock.advance(3 * 3600)
    driver.sites.now = driver.clock.seconds()
    signed = driver.api("GET", keys).json
    (key,) = signed["keys"]
    assert (signed["dnssec"], signed["phase"], signed["until"]) == (True, "signed", None)
    (ds,) = signed["ds"]
    assert re.fullmatch(rf"{key['key_tag']} 13 2 [0-9A-F]{{64}}", ds)
    assert (key["flags"], key["algorithm"], len(key["public_key"])) == (257, 13, 88)

    rolling = driver.api("POST", keys, {"step": "roll"}, token).json
    assert (rolling["phase"], len(rolling["keys"]), rolling["ds"]) == ("publishing", 2, [ds])
    for step, code in (("confirm", "not-now"), ("roll", "not-now"), ("leap", "step"), (5, "step")):
        refused = assert_problem(
            driver.api("POST", keys, {"step": step}, token), 422, "invalid-fields"
        )
        assert refused["errors"]["step"]["code"] == code
    assert driver.api("PATCH", path, {"dnssec": "off"}, token).json["dnssec"] is False
    assert driver.api("GET", keys).json["phase"] == "withdrawing"
    # An owner who is wrong about his registrar would make his zone bogus.
    driver.parents.ds = [ds]
    refused = assert_problem(
        driver.api("POST", keys, {"step": "confirm"}, token), 422, "invalid-fields"
    )
    assert refused["errors"]["step"] == {"code": "parent", "message": f"The parent has: {ds}."}
    driver.parents.ds = None  # nobody knows better than he
    assert driver.api("POST", keys, {"step": "confirm"}, token).json["phase"] == "ending"

    wrong = assert_problem(driver.api("PATCH", path, {"dnssec": 7}, token), 422, "invalid-fields")
    assert list(wrong["errors"]) == ["dnssec"]
    assert_problem(driver.api("POST", keys, {"step": "roll"}), 401, "unauthorized")
    assert_problem(driver.api("POST", keys, {"step": "roll"}, "wd_no"), 403, "forbidden")
    assert_problem(driver.api("GET", "/api/v1/sites/geese/dnssec"), 404, "no-site")


@pytest.mark.parametrize(
    ("body", "content_type", "status", "code"),
    [
        (b"{", "application/json", 400, "json"),
        (b"[]", "application/json", 400, "object"),
        (b'{"name":"a","name":"b"}', "application/json", 400, "duplicate"),
        (b'{"a":"\xff"}', "application/json", 400, "encoding"),
        (b"[" * 99, "application/json", 400, "depth"),
        (b"{}", "text/plain", 415, "content-type"),
        (b"{}", "application/json; charset=utf-16", 415, "charset"),
    ],
)
def test_wrong_documents(
    driver: Driver, body: bytes, content_type: str, status: int, code: str
) -> None:
    reply = driver.ask("POST", "/api/v1/sites", body, {"Content-Type": content_type})
    assert_problem(reply, status, code)


@pytest_twisted.ensureDeferred
async def test_listing_is_paged_and_by_cohort(driver: Driver) -> None:
    for number in range(5):
        cohort = "even" if number % 2 == 0 else "odd"
        await driver.add(name=f"site{number}", domain=f"s{number}.example", cohort=cohort)
    names: list[str] = []
    after: str | None = ""
    while after is not None:
        page = driver.api("GET", f"/api/v1/sites?limit=2&cursor={after}").json
        names += [site["name"] for site in page["sites"]]
        after = page["next"]
    assert names == [f"site{number}" for number in range(5)]
    odd = driver.api("GET", "/api/v1/sites?cohort=odd").json
    assert [site["name"] for site in odd["sites"]] == ["site1", "site3"]
    assert driver.api("GET", "/api/v1/cohorts").json == {
        "cohorts": [{"name": "even", "sites": 3}, {"name": "odd", "sites": 2}]
    }
    for limit in ("0", "-1", "x", "1001", "²", ""):
        reply = driver.ask("GET", f"/api/v1/sites?limit={limit}".encode().decode("latin-1"))
        assert reply.status == 400


def test_an_owner_chooses_how_his_site_is_carried(driver: Driver) -> None:
    token = driver.api("POST", "/api/v1/sites", GOOD).json["token"]
    path, pin = "/api/v1/sites/ducks", "ab" * 32
    asked = {"origin_tls": "pinned", "origin_pin": pin, "redirect_to_https": True}
    changed = driver.api("PATCH", path, {**asked, "hsts_seconds": 300}, token)
    assert changed.status == 200, changed.text
    public = driver.api("GET", path).json
    for answer in (changed.json, public):
        assert {key: answer[key] for key in asked} == asked
        assert answer["hsts_seconds"] == 300

    headers = {"Accept-Language": "ko", "Authorization": f"Bearer {token}"}
    headers["Content-Type"] = "application/json"
    wrong = b'{"origin_tls": "none", "hsts_seconds": -1, "redirect_to_https": 2, "origin_pin": ":"}'
    errors = assert_problem(driver.ask("PATCH", path, wrong, headers), 422, "invalid-fields")
    assert list(errors["errors"]) == [
        "origin_tls", "origin_pin", "redirect_to_https", "hsts_seconds"
    ]  # fmt: skip
    assert all("하세요" in error["message"] or "고르세요" in error["message"]
               for error in errors["errors"].values())  # fmt: skip
    missing = driver.ask("PATCH", path, b'{"origin_pin": ""}', headers)
    assert "핀이 필요" in missing.json["errors"]["origin_pin"]["message"]
    assert driver.api("GET", path).json == public


def test_changing_needs_the_owners_token(driver: Driver) -> None:
    token = driver.api("POST", "/api/v1/sites", GOOD).json["token"]
    path, change = "/api/v1/sites/ducks", {"origin": "https://203.0.113.9"}
    missing = driver.api("PATCH", path, change)
    assert_problem(missing, 401, "unauthorized")
    assert missing.headers["www-authenticate"].startswith("Bearer")
    assert_problem(driver.api("PATCH", path, change, "wd_wrong"), 403, "forbidden")
    assert_problem(driver.api("PATCH", "/api/v1/sites/no", change, token), 404, "no-site")
    reply = driver.api("PATCH", path, change, token)
    assert (reply.status, reply.json["origin"]) == (200, "https://203.0.113.9")
    document = assert_problem(
        driver.api("PATCH", path, {"domain": "x.example"}, token), 422, "invalid-fields"
    )
    assert document["errors"]["domain"]["code"] == "unchangeable"


def test_removing_needs_the_owners_token(driver: Driver) -> None:
    token = driver.api("POST", "/api/v1/sites", GOOD).json["token"]
    path = "/api/v1/sites/ducks"
    assert_problem(driver.api("DELETE", path), 401, "unauthorized")
    assert_problem(driver.api("DELETE", path, token="wd_wrong"), 403, "forbidden")
    reply = driver.api("DELETE", path, token=token)
    assert (reply.status, reply.body) == (204, b"")
    assert "content-type" not in reply.headers
    assert_problem(driver.api("DELETE", path, token=token), 404, "no-site")
    assert_problem(driver.api("GET", path), 404, "no-site")


@pytest_twisted.ensureDeferred
async def test_figures(driver: Driver) -> None:
    await driver.add()
    driver.analytics.scale = 100
    base = "/api/v1/sites/ducks"
    traffic = driver.api("GET", f"{base}/traffic?range=day").json
    assert (traffic["site"], traffic["bucket_seconds"]) == ("ducks", 3600)
    assert len(traffic["points"]) == 24
    assert traffic["totals"]["requests"] == sum(point["requests"] for point in traffic["points"])
    assert traffic["to"].endswith("Z")
    latency = driver.api("GET", f"{base}/latency").json
    assert latency["total"]["p95_ms"] > latency["total"]["p50_ms"] > 0
    assert latency["fastest"][0]["path"] == "/assets/app.css"
    status = driver.api("GET", f"{base}/status?range=week").json
    assert set(status["codes"]) == {"200", "404"}
    assert 0 < status["success_rate"] < 1
    assert driver.api("GET", f"{base}/visitors?range=month").json["total"] > 0
    assert driver.api("GET", f"{base}/paths").json["paths"][0]["path"] == "/"
    assert driver.api("GET", f"{base}/referrers").json["referrers"][0]["host"] == "news.example"
    dns = driver.api("GET", f"{base}/dns?range=day").json
    assert (dns["site"], dns["zone"], dns["questions"]) == ("ducks", "ducks.example", 2400)
    assert dns["points"][0]["types"] == {"A": 100}
    assert dns["networks"] == [{"network": "192.0.2.0/24", "questions": 2400}]
    custom = f"{base}/traffic?range=custom&from=2026-11-01T00:00:00Z&to=2026-11-02T00:00:00Z"
    assert driver.api("GET", custom).json["from"] == "2026-11-01T00:00:00Z"


@pytest_twisted.ensureDeferred
async def test_a_silent_site_has_figures_without_values(driver: Driver) -> None:
    await driver.add()
    latency = driver.api("GET", "/api/v1/sites/ducks/latency").json
    assert latency["total"]["p50_ms"] is None
    assert driver.api("GET", "/api/v1/sites/ducks/status").json["success_rate"] is None


@pytest_twisted.ensureDeferred
async def test_wrong_questions_for_figures(driver: Driver) -> None:
    await driver.add()
    base = "/api/v1/sites/ducks"
    for query, field in (
        ("range=century", "range"),
        ("range=day&from=2026-11-01T00:00:00Z", "from"),
        ("range=custom&from=x&to=2026-11-02T00:00:00Z", "from"),
    ):
        reply = driver.api("GET", f"{base}/traffic?{query}")
        assert field in assert_problem(reply, 422, "invalid-fields")["errors"]
    assert_problem(driver.api("GET", f"{base}/nonsense"), 404, "not-found")
    assert_problem(driver.api("GET", "/api/v1/sites/no/traffic"), 404, "no-site")
    driver.analytics.away = True
    assert_problem(driver.api("GET", f"{base}/traffic"), 503, "unavailable")
    assert_problem(driver.api("GET", f"{base}/dns"), 503, "unavailable")
    assert_problem(driver.api("GET", "/api/v1/sites/no/dns"), 404, "no-site")
    reply = driver.api("GET", f"{base}/dns?range=century")
    assert "range" in assert_problem(reply, 422, "invalid-fields")["errors"]


# --- records --------------------------------------------------------------------------------------

RECORDS = "/api/v1/sites/ducks/records"
MX = {"name": "@", "type": "MX", "ttl": 300, "value": "10 mail.ducks.example."}


def test_a_new_zone_holds_nothing_but_what_we_make(driver: Driver) -> None:
    driver.api("POST", "/api/v1/sites", GOOD)
    reply = driver.api("GET", RECORDS)
    assert reply.json == {
        "site": "ducks",
        "zone": "ducks.example",
        "proxied": ["@", "www"],
        "records": [],
        "revision": 1,
    }
    assert reply.headers["etag"] == '"1"'
    assert_problem(driver.api("GET", "/api/v1/sites/geese/records"), 404, "no-site")


def test_an_owner_replaces_the_records(driver: Driver) -> None:
    token = driver.api("POST", "/api/v1/sites", GOOD).json["token"]
    txt = {"name": "ducks.example", "type": "txt", "value": "v=spf1 mx -all"}
    second = {"name": "www", "type": "A", "value": "203.0.113.9"}
    document = {"records": [txt, MX, second], "proxied": ["@", "www", "shop"]}
    reply = driver.api("PUT", RECORDS, document, token)
    assert reply.json == {
        "site": "ducks",
        "zone": "ducks.example",
        "proxied": ["@", "www", "shop"],
        "records": [
            MX,
            {"name": "@", "type": "TXT", "ttl": 3600, "value": '"v=spf1 mx -all"'},
        ],
        "revision": 2,
        "notes": [
            {
                "record": "records[2] (www)",
                "code": "made-by-us",
                "message": "www is proxied, so its addresses are ours; this one is not kept.",
            }
        ],
    }
    assert reply.headers["etag"] == '"2"'
    # What was read can be sent back, and the hosts stay if they are not named.
    read = driver.api("GET", RECORDS).json
    del read["site"]
    assert driver.api("PUT", RECORDS, read, token).json["records"] == read["records"]
    emptied = driver.api("PUT", RECORDS, {"records": []}, token).json
    assert (emptied["records"], emptied["proxied"]) == ([], ["@", "www", "shop"])


def test_records_are_changed_by_the_owner_only(driver: Driver) -> None:
    driver.api("POST", "/api/v1/sites", GOOD)
    assert_problem(driver.api("PUT", RECORDS, {"records": []}), 401, "unauthorized")
    assert_problem(driver.api("PUT", RECORDS, {"records": []}, "wd_no"), 403, "forbidden")


def test_wrong_records_are_all_told(driver: Driver) -> None:
    token = driver.api("POST", "/api/v1/sites", GOOD).json["token"]
    records = [MX, {**MX, "value": "mail"}, {**MX, "ttl": "1h", "type": "MX"}]
    document = assert_problem(
        driver.api("PUT", RECORDS, {"records": records}, token), 422, "invalid-fields"
    )
    assert {field: error["code"] for field, error in document["errors"].items()} == {
        "records[1].value": "record-value",
        "records[2].ttl": "ttl",
    }
    assert driver.api("GET", RECORDS).json["revision"] == 1


@pytest.mark.parametrize(
    ("condition", "status"),
    [("*", 200), ('"1"', 200), ('"7", "1"', 200), ('"2"', 412), ('W/"1"', 412), ("1", 412)],
)
def test_a_change_may_name_what_it_is_based_on(driver: Driver, condition: str, status: int) -> None:
    token = driver.api("POST", "/api/v1/sites", GOOD).json["token"]
    headers = {
        "Authorization": f"Bearer {token}",
        "Content-Type": "application/json",
        "If-Match": condition,
    }
    reply = driver.ask("PUT", RECORDS, json.dumps({"records": [MX]}).encode(), headers)
    assert reply.status == status
    if status == 412:
        assert_problem(reply, 412, "revision")
    late = driver.api("PUT", RECORDS, {"records": [], "revision": 9}, token)
    assert_problem(late, 412, "revision")


ZONE_FILE = "$TTL 300\n@ SOA ns1 h 1 2 3 4 5\n@ MX 10 mail\nwww A 203.0.113.9\nmail A 203.0.113.8\n"
A = {"name": "mail", "type": "A", "ttl": 300, "value": "203.0.113.8"}


def test_a_zone_file_is_imported(driver: Driver) -> None:
    token = driver.api("POST", "/api/v1/sites", GOOD).json["token"]
    other = {"name": "@", "type": "TXT", "ttl": 5, "value": '"x"'}
    old = {**MX, "value": "5 old.ducks.example."}
    driver.api("PUT", RECORDS, {"records": [old, other]}, token)
    wanted = {"zonefile": ZONE_FILE, "dry_run": True}
    reply = driver.api("POST", f"{RECORDS}/import", wanted, token)
    assert reply.json == {
        "site": "ducks",
        "zone": "ducks.example",
        "added": [MX, A],
        "removed": [old],
        "notes": [
            {
                "record": "line 2",
                "code": "server-made",
                "message": "SOA: our name servers make it themselves.",
            },
            {
                "record": "line 4 (www)",
                "code": "made-by-us",
                "message": "www is proxied, so its addresses are ours; this one is not kept.",
            },
        ],
        "kept": False,
        "revision": 2,
    }
    assert driver.api("GET", RECORDS).json["revision"] == 2
    kept = driver.api("POST", f"{RECORDS}/import", {**wanted, "dry_run": False}, token).json
    assert (kept["kept"], kept["revision"]) == (True, 3)
    assert driver.api("GET", RECORDS).json["records"] == [MX, other, A]
    replaced = driver.api("POST", f"{RECORDS}/import", {**wanted, "replace": "yes"}, token).json
    assert (replaced["added"], replaced["removed"]) == ([], [other])


@pytest.mark.parametrize(
    ("body", "field", "code"),
    [
        ({}, "zonefile", "missing"),
        ({"zonefile": 5}, "zonefile", "missing"),
        ({"zonefile": "@ A"}, "zonefile", "zone-file"),
        ({"zonefile": "", "replace": 5}, "replace", "boolean"),
        ({"zonefile": "", "x": 5}, "x", "unknown-field"),
    ],
)
def test_wrong_imports(driver: Driver, body: object, field: str, code: str) -> None:
    token = driver.api("POST", "/api/v1/sites", GOOD).json["token"]
    document = assert_problem(
        driver.api("POST", f"{RECORDS}/import", body, token), 422, "invalid-fields"
    )
    assert document["errors"][field]["code"] == code
    assert_problem(driver.api("POST", f"{RECORDS}/import", body), 401, "unauthorized")


# --- a zone and choices with the registration -----------------------------------------------------


def test_registering_with_a_zone_and_choices(driver: Driver) -> None:
    body = {**GOOD, "domain": "app.ducks.example", "zone": "Ducks.example", "origin_tls": "off"}
    site = driver.api("POST", "/api/v1/sites", body).json
    assert (site["zone"], site["origin_tls"]) == ("ducks.example", "off")
    assert site["hosts"] == ["ducks.example", "www.ducks.example", "app.ducks.example"]


@pytest.mark.parametrize(
    ("fields", "field", "code"),
    [
        ({"zone": "geese.example"}, "zone", "zone"),
        ({"zone": "x.ducks.example"}, "zone", "zone"),
        ({"zone": "cks.example"}, "zone", "zone"),
        ({"domain": "a.ducks.co.kr", "zone": "co.kr"}, "zone", "public-suffix"),
        # Around the domain, but another's: customers have their own names below s3.amazonaws.com.
        ({"domain": "x.s3.amazonaws.com", "zone": "amazonaws.com"}, "zone", "zone"),
        ({"zone": 5}, "zone", "type"),
        ({"origin_tls": "pinned"}, "origin_pin", "pin-missing"),
        ({"hsts_seconds": -1}, "hsts_seconds", "hsts"),
    ],
)
def test_registering_with_a_wrong_zone_or_choice(
    driver: Driver, fields: dict[str, object], field: str, code: str
) -> None:
    reply = driver.api("POST", "/api/v1/sites", {**GOOD, **fields})
    document = assert_problem(reply, 422, "invalid-fields")
    assert {name: error["code"] for name, error in document["errors"].items()} == {field: code}


def test_a_sites_way_is_told_in_the_readers_language(driver: Driver) -> None:
    driver.api("POST", "/api/v1/sites", GOOD)
    progress = driver.api("GET", "/api/v1/sites/ducks").json["progress"]
    assert [(step["name"], step["state"]) for step in progress["steps"]] == [
        ("registered", "done"),
        ("delegated", "now"),
        ("active", "later"),
    ]
    assert progress["steps"][0]["time"] == "2026-11-18T11:06:40Z"
    assert progress["steps"][1]["reason"]["code"] == "waiting"
    assert progress["steps"][1]["reason"]["message"].startswith("Enter our name servers")
    assert (progress["looked"], progress["next_look"]) == (None, "2026-11-18T11:07:40Z")
    driver.sites.progress[1] = Progress(looked=9, finding=Finding.ELSEWHERE, servers=("ns.old",))
    reply = driver.ask("GET", "/api/v1/sites/ducks", headers={"Accept-Language": "ko"})
    step = reply.json["progress"]["steps"][1]
    assert "도메인의 네임서버가 ns.old입니다" in step["reason"]["message"]


def test_an_owner_may_have_the_delegation_looked_at(driver: Driver) -> None:
    driver.api("POST", "/api/v1/sites", GOOD)
    path = "/api/v1/sites/ducks/check"
    assert_problem(driver.api("POST", path, {}), 401, "unauthorized")
    failed = CertificateProgress(failed=1, trouble=Trouble.CAA, retry=2**40, soonest=1_800_000_000)
    driver.sites.progress[1] = Progress(certificate=failed)
    asked = driver.api("POST", path, {}, "wd_token-1")
    assert (asked.status, asked.json["next_attempt"]) == (202, "2027-01-15T08:00:00Z")
    again = driver.api("POST", path, {}, "wd_token-1")
    assert_problem(again, 429, "too-soon")
    assert again.headers["retry-after"] == "10"
