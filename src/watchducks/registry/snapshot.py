"""The last known sites as a file, for a restart while the registry is away.

One JSON document: format, lineage, revision, sites, and a SHA-256 over all these. A file that is
not exactly what was written is as good as none. It holds e-mail addresses: mode 0600.
"""

from __future__ import annotations

import hashlib
import json
import os
from base64 import b64decode, b64encode
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Final

from watchducks.model.origins import parse_origin
from watchducks.model.signing import Signing
from watchducks.model.sites import Site, SiteChoices, SiteState
from watchducks.model.zones import ZoneContents

# Counted up when the content changes its meaning; a file of a later format is not read. A site of
# format 1 had no choices, one of format 2 no contents, and one of format 3 no signing; the
# migrations that brought them gave each site the default ones.
FORMAT: Final = 4
_READABLE: Final = (1, 2, 3, FORMAT)


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
    temporary = path.with_name(f"{path.name}.new")
    digest = hashlib.sha256()
    descriptor = os.open(temporary, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        for line in _lines(FORMAT, snapshot):
            digest.update(line.encode())
            file.write(line)
        file.write(f'],\n"sha256": "{digest.hexdigest()}"}}\n')
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    # The new name must be on the disk too.
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def read_snapshot(path: Path) -> Snapshot | None:
    """Return what was written last, or None if nothing was. Blocks; for a thread.

    :raises SnapshotDamaged: the file cannot be read, or is not what was written.
    """
    try:
        document = json.loads(path.read_text(encoding="ascii"))
        written = document["format"]
        if written not in _READABLE:
            raise SnapshotDamaged(f"it has format {written!r}, and this version reads {_READABLE}")
        snapshot = Snapshot(
            document["lineage"], document["revision"], [_site(item) for item in document["sites"]]
        )
        digest = hashlib.sha256()
        for line in _lines(written, snapshot):
            digest.update(line.encode())
        if digest.hexdigest() != document["sha256"]:
            raise SnapshotDamaged("its checksum is wrong")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SnapshotDamaged(f"it cannot be read: {error.strerror}") from error
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise SnapshotDamaged(f"it is not a list of sites: {error}"[:200]) from error
    return snapshot


def _lines(written: int, snapshot: Snapshot) -> Iterator[str]:
    """Return the document, but for its checksum, in the format ``written``."""
    # Site by site, not one json.dumps of all: that would hold the interpreter, and with it the
    # reactor, for the better part of a second with 100,000 sites.
    yield f'{{"format": {written}, "lineage": {json.dumps(snapshot.lineage)}, '
    yield f'"revision": {snapshot.revision:d},\n'
    yield '"sites": ['
    separator = "\n"
    for site in snapshot.sites:
        yield separator + json.dumps(_item(written, site))
        separator = ",\n"


def _item(written: int, site: Site) -> dict[str, str | int]:
    item: dict[str, str | int] = {
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
    }
    if written >= 2:
        item |= asdict(site.choices)
    if written >= 3:
        item["contents"] = b64encode(site.contents.pack()).decode()
    if written >= 4:
        item["signing"] = b64encode(site.signing.pack()).decode()
    return item


def _site(item: dict[str, str | int]) -> Site:
    def text(key: str) -> str:
        value = item[key]
        if not isinstance(value, str):
            raise TypeError(f"{key} is no text")
        return value

    def number(key: str) -> int:
        value = item[key]
        if not isinstance(value, int):
            raise TypeError(f"{key} is no number")
        return value

    def octets(key: str) -> bytes:
        return b64decode(text(key), validate=True) if key in item else b""

    return Site(
        id=number("id"),
        name=text("name"),
        domain=text("domain"),
        zone=text("zone"),
        origin=parse_origin(text("origin")),
        email=text("email"),
        cohort=text("cohort"),
        state=SiteState(text("state")),
        revision=number("revision"),
        created=number("created"),
        # In a file of format 1 there are none; in another one, the checksum finds them missing.
        choices=SiteChoices.read(
            *(item.get(field.name, field.default) for field in fields(SiteChoices))
        ),
        contents=ZoneContents.unpack(octets("contents")),
        signing=Signing.unpack(octets("signing")),
    )
