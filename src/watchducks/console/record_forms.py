"""What the forms of the records page ask for. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from watchducks.console.languages import mark
from watchducks.model.presentation import DEFAULT_TTL
from watchducks.model.problems import Problem

# What a record is good for, in the words of somebody who has never read an RFC.
MEANINGS: Final = {
    "A": mark("the IPv4 address of this name"),
    "AAAA": mark("the IPv6 address of this name"),
    "ALIAS": mark("has the addresses of that other name"),
    "CNAME": mark("another name for that host"),
    "MX": mark("where mail for this name is delivered"),
    "TXT": mark("a text, such as a proof of ownership or who may send mail"),
    "CAA": mark("who may issue certificates"),
    "SRV": mark("where a service is found"),
    "NS": mark("other name servers answer for this name"),
    "DS": mark("how these other name servers sign"),
    "TLSA": mark("the certificate of a service"),
    "SSHFP": mark("the key of an SSH server"),
    "HTTPS": mark("how browsers connect"),
}
# The form's field -> the API's.
RECORD_FIELDS: Final = {"owner": "name", "type": "type", "ttl": "ttl", "value": "value"}

EMPTY_RECORD: Final = {"owner": "", "type": "A", "ttl": str(DEFAULT_TTL), "value": ""}


def row(records: Sequence[object], text: str) -> int | None:
    """Return the row that a form or an address names; None for none."""
    if not (text.isascii() and text.isdigit() and len(text) <= 4):
        return None
    return int(text) if int(text) < len(records) else None


def changed(document: Mapping[str, Any], fields: Mapping[str, str]) -> dict[str, Any]:
    """Return the document of the zone after what a form asks for."""
    records = list(document["records"])
    proxied = document["proxied"]
    gone = row(records, fields["remove"])
    edited = row(records, fields["change"])
    if fields["save"] == "hosts":
        proxied = fields["hosts"].replace(",", " ").split()
    elif gone is not None:
        del records[gone]
    elif fields["save"] == "record":
        record = {key: fields[field] for field, key in RECORD_FIELDS.items()}
        if edited is None:
            records.append(record)
        else:
            records[edited] = record
    return {"records": records, "proxied": proxied}


def by_form(problems: Mapping[str, Problem]) -> dict[str, Problem]:
    """Return the problems by the field of the form: ``records[7].value`` is ``value``."""
    fields = {key: field for field, key in RECORD_FIELDS.items()}
    named = {}
    for place, problem in problems.items():
        last = place.rpartition(".")[2] if place.startswith("records[") else place
        named[last if last in ("proxied", "zonefile") else fields.get(last, "record")] = problem
    return named
