"""The certificates of this host, as `watchducks status` tells of them."""

from __future__ import annotations

from pathlib import Path

from watchducks.cli import held
from watchducks.demo.authority import Authority


def test_what_can_be_used_and_what_cannot(tmp_path: Path) -> None:
    authority, certificates = Authority(tmp_path / "ca"), tmp_path / "certificates"
    assert held.certificates(certificates)["folders"] == 0
    for name in ("pond.example", "broken.example", "being-made"):
        (certificates / name).mkdir(parents=True)
    chain, key = authority.issue(["pond.example"])
    for name, content in (("pond.example", key), ("broken.example", b"quack")):
        (certificates / name / "fullchain.pem").write_bytes(chain)
        (certificates / name / "privkey.pem").write_bytes(content)
    found = held.certificates(certificates)
    assert (found["folders"], found["looked_at"]) == (2, 2)
    assert [one["certificate"] for one in found["ending"]] == ["pond.example"]
    assert [one["certificate"] for one in found["unusable"]] == ["broken.example"]
    shown = held.in_lines({"files": found})
    assert shown["certificate folders"] == "2"
    assert shown["first to end"].startswith("pond.example on 20")
    assert "holds no PEM private key" in shown["not used: broken.example"]


def test_what_the_keeper_says_is_shown_as_lines() -> None:
    told = {
        "kept": 2,
        "under_way": 1,
        "due": [{"certificate": "pond.example", "due": "2027-01-01", "ends": "2027-02-01"}],
        "failing": [{"name": "www.bad.example", "again": "soon", "reason": "dns: no such name"}],
        "silent": [{"authority": "le", "until": "then"}],
        "waiting": [{"certificate": "moor.example", "authority": "le", "until": "later"}],
    }
    assert held.in_lines(told) == {
        "certificates by ACME": "2, 1 orders under way",
        "next to renew": "pond.example on 2027-01-01, ends 2027-02-01",
        "fails: www.bad.example": "dns: no such name (again soon)",
        "silent: le": "asked again then",
        "waits: moor.example": "for le until later",
    }
    assert held.in_lines({}) == {}
