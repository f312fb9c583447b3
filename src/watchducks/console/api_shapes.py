"""What the API takes and gives, as schemas. Those of figures are made of analytics' results."""

from __future__ import annotations

from typing import Final

from watchducks.console.shapes import (
    COUNT,
    FLAG,
    MOMENT,
    TEXT,
    WHOLE,
    Schema,
    joined,
    listing,
    nullable,
    of,
    one_of,
    record,
)
from watchducks.model.signing import Phase
from watchducks.model.sites import SiteChoices, SiteState, Visibility
from watchducks.model.steps import StepName, StepState
from watchducks.registry.keys import KeyStep

REASON: Final = record({"code": TEXT, "message": TEXT})

_FAILOVER: Final = record({"would_work": FLAG, "checked": MOMENT, "reason": nullable(TEXT)})

_HEALTH: Final = record(
    {
        "answers": FLAG,
        "since": MOMENT,
        "asked": MOMENT,
        "reason": nullable(TEXT),
        "failover": nullable(_FAILOVER),
    }
)

SITE: Final = joined(
    record(
        {
            "name": TEXT,
            "domain": TEXT,
            "display_domain": TEXT,
            "zone": TEXT,
            "hosts": listing(TEXT),
            "origin": TEXT,
            "cohort": TEXT,
            "state": one_of(*(state.value for state in SiteState)),
            "created": MOMENT,
            "dnssec": FLAG,
            "visibility": one_of(*(word.value for word in Visibility)),
            "drill_until": nullable(MOMENT),
            "suspended": FLAG,
            "nameservers": listing(TEXT),
            "origin_health": nullable(_HEALTH),
        },
        {"email": TEXT, "share": TEXT},
    ),
    of(SiteChoices),
)

_STEP: Final = record(
    {
        "name": one_of(*(name.value for name in StepName)),
        "state": one_of(*(state.value for state in StepState)),
        "time": nullable(MOMENT),
        "reason": nullable(REASON),
    }
)

ONE_SITE: Final = joined(
    SITE,
    record(
        {
            "blocked_by": nullable(REASON),
            "progress": record(
                {
                    "steps": listing(_STEP),
                    "moved": nullable(MOMENT),
                    "looked": nullable(MOMENT),
                    "next_look": MOMENT,
                    "certificate": record(
                        {
                            "ordered": nullable(MOMENT),
                            "issued": nullable(MOMENT),
                            "expires": nullable(MOMENT),
                            "failed": nullable(MOMENT),
                            "next_attempt": nullable(MOMENT),
                            "reason": nullable(REASON),
                        }
                    ),
                }
            ),
        }
    ),
)

NEW_SITE: Final = joined(SITE, record({"email": TEXT, "token": TEXT}))

SITES: Final = record({"sites": listing(SITE), "next": nullable(TEXT)})

COHORTS: Final = record({"cohorts": listing(record({"name": TEXT, "sites": COUNT}))})

_YES_OR_NO: Final[Schema] = {"anyOf": [FLAG, one_of("on", "off")]}

# Of a change every field may be left out. A field that is not there is refused by name.
_CHOICES: Final[Schema] = {
    "origin_tls": one_of("verify", "pinned", "off"),
    "origin_pin": {"type": "string", "description": "SHA-256 of the key, 64 hexadecimal digits."},
    "redirect_to_https": _YES_OR_NO,
    "hsts_seconds": COUNT,
    "dnssec": _YES_OR_NO,
}

REGISTRATION: Final = record(
    {"name": TEXT, "domain": TEXT, "origin": TEXT, "email": TEXT},
    {"cohort": TEXT, "zone": TEXT, **_CHOICES},
)

CHANGE: Final = record(
    {},
    {
        "origin": TEXT,
        "email": TEXT,
        "cohort": TEXT,
        "visibility": one_of(*(word.value for word in Visibility)),
        **_CHOICES,
        "drill": _YES_OR_NO,
    },
)

DNSSEC: Final = record(
    {
        "site": TEXT,
        "zone": TEXT,
        "dnssec": FLAG,
        "phase": one_of(*(phase.name.lower() for phase in Phase)),
        "until": nullable(MOMENT),
        "ds": listing(TEXT),
        "keys": listing(
            record({"key_tag": WHOLE, "flags": WHOLE, "algorithm": WHOLE, "public_key": TEXT})
        ),
    }
)

KEY_STEP: Final = record({"step": one_of(*(step.value for step in KeyStep))})

RECORD: Final = record({"name": TEXT, "type": TEXT, "ttl": COUNT, "value": TEXT})

_ZONE: Final = record({"site": TEXT, "zone": TEXT})

RECORDS: Final = joined(
    _ZONE,
    record({"proxied": listing(TEXT), "records": listing(RECORD), "revision": WHOLE}),
)

_NOTES: Final = record({"notes": listing(record({"record": TEXT, "code": TEXT, "message": TEXT}))})

REPLACED: Final = joined(RECORDS, _NOTES)

NEW_RECORDS: Final = record(
    {"records": listing(record({"name": TEXT, "type": TEXT, "value": TEXT}, {"ttl": COUNT}))},
    {"proxied": listing(TEXT), "zone": TEXT, "revision": WHOLE},
)

IMPORT: Final = record({"zonefile": TEXT}, {"replace": _YES_OR_NO, "dry_run": _YES_OR_NO})

IMPORTED: Final = joined(
    _ZONE,
    record({"added": listing(RECORD), "removed": listing(RECORD), "kept": FLAG, "revision": WHOLE}),
    _NOTES,
)

OFFERS: Final = joined(_ZONE, record({"records": listing(RECORD)}))

# While the scan is under way there is nothing but `made`, which is null.
SCAN: Final = joined(
    _ZONE,
    record(
        {"made": nullable(MOMENT)},
        {"whole": FLAG, "records": listing(RECORD), "blocked_by": nullable(REASON)},
    ),
)

ACCEPTED: Final = record({"site": TEXT})

CHECKED: Final = record({"site": TEXT, "next_attempt": nullable(MOMENT)})
