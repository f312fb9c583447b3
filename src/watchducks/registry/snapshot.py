"""The last known sites as a file, for a restart while the registry is away.

One JSON document: format, lineage, revision, sites (one a line), and a SHA-256 over the octets of
all these. A file that is not exactly what was written is as good as none. It holds e-mail
addresses: mode 0600.
"""

from __future__ import annotations

import hashlib
import json
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final

from watchducks.model.origins import parse_origin
from watchducks.model.signing import Signing
from watchducks.model.sites import DEFAULT_CHOICES, Site, SiteChoices, SiteState
from watchducks.model.zones import ZoneContents
from watchducks.replacing import replace_file

# Counted up when the content changes its meaning; a file of a later format is not read. A site of
# format 1 had no choices, one of format 2 no contents, and one of format 3 no signing; the
# migrations that brought them gave each site the default ones.
FORMAT: Final = 4
_READABLE: Final = (1, 2, 3, FORMAT)
_SITES: Final = b'"sites": ['
_END: Final = b'],\n"sha256": "'
_LAST: Final = b'"}\n'
_CHOICES: Final = tuple(field.name for field in fields(SiteChoices))


class SnapshotDamaged(Exception):
    """The file is not what was written; the text says in what way."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The sites of one registry (``lineage``) at one ``revision``."""

    lineage: str
    revision: int
    sites: list[Site]


def write_snapshot(path: Path, snapshot: Snapshot) -> None:
    """Replace the file as a whole: a reader, or a crash, finds the old one or the new one.

    Blocks; for a thread.

    :raises OSError: the folder is missing, or the disk full. The old file is still there.
    """
    replace_file(path, _with_checksum(_pieces(snapshot)))


def read_snapshot(path: Path) -> Snapshot | None:
    """Return what was written last, or None if nothing was. Blocks; for a thread.

    :raises SnapshotDamaged: the file cannot be read, or is not what was written.
    """
    try:
        body, _, end = path.read_bytes().rpartition(_END)
        head, _, sites = body.partition(_SITES)
        document = json.loads(head + _SITES + b"]}")
        written = document["format"]
        if written not in _READABLE:
            raise SnapshotDamaged(f"it has format {written!r}, and this version reads {_READABLE}")
        if end != hashlib.sha256(body).hexdigest().encode() + _LAST:
            raise SnapshotDamaged("its checksum is wrong")
        # Line by line, as it was written.
        items = (json.loads(line.rstrip(b",")) for line in sites.splitlines() if line)
        return Snapshot(
            document["lineage"], document["revision"], [site_of(item) for item in items]
        )
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SnapshotDamaged(f"it cannot be read: {error.strerror}") from error
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise SnapshotDamaged(f"it is not a list of sites: {error}"[:200]) from error


def _with_checksum(pieces: Iterable[bytes]) -> Iterator[bytes]:
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
        yield piece
    yield _END + digest.hexdigest().encode() + _LAST


def _pieces(snapshot: Snapshot) -> Iterator[bytes]:
    """Return the document up to its checksum."""
    # Site by site, not one json.dumps of all: that would hold the interpreter, and with it the
    # reactor, for the better part of a second with 100,000 sites.
    lineage = json.dumps(snapshot.lineage)
    yield (
        f'{{"format": {FORMAT}, "lineage": {lineage}, "revision": {snapshot.revision:d},\n'
    ).encode()
    yield _SITES
    separator = "\n"
    for site in snapshot.sites:
        yield (separator + json.dumps(item_of(site))).encode()
        separator = ",\n"


def item_of(site: Site) -> dict[str, str | int]:
    """Return ``site`` as what JSON knows."""
    return {
        "id": site.id,
        "name": site.name,
        "domain": site.domain,
        "zone": site.zone,
        "origin": str(site.origin),
        "email": site.email,
        "cohort": site.cohort,
        "state": site.state.value,
        "revision": site.revision,
        "created": site.created,
        **{name: getattr(site.choices, name) for name in _CHOICES},
        "contents": b64encode(site.contents.pack()).decode(),
        "signing": b64encode(site.signing.pack()).decode(),
        "drill_until": site.drill_until,
        "suspended": site.suspended,
    }


def site_of(item: dict[str, Any]) -> Site:
    """Return the site that :func:`item_of` made ``item`` of."""
    # The checksum has told that these are the types that were written.
    choices = DEFAULT_CHOICES
    if "origin_tls" in item:
        # Those that came later are missing in an older file: nobody had chosen them.
        default = asdict(DEFAULT_CHOICES)
        choices = SiteChoices.read(*(item.get(name, default[name]) for name in _CHOICES))
    return Site(
        id=item["id"],
        name=item["name"],
        domain=item["domain"],
        zone=item["zone"],
        origin=parse_origin(item["origin"]),
        email=item["email"],
        cohort=item["cohort"],
        state=SiteState(item["state"]),
        revision=item["revision"],
        created=item["created"],
        choices=choices,
        contents=ZoneContents.unpack(b64decode(item.get("contents", ""))),
        signing=Signing.unpack(b64decode(item.get("signing", ""))),
        drill_until=item.get("drill_until", 0),
        suspended=item.get("suspended", False),
    )
