"""The addresses of host names as a file, so that a restart serves while no resolver answers.

One JSON document, replaced as a whole. A file that is not what was written is as good as none: the
names are then looked up as at the very first start.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from watchducks.model.origins import Address
from watchducks.replacing import replace_file


class Known(NamedTuple):
    """What is known of one name.

    :ivar found: its addresses, as it has them: what an ALIAS of it answers.
    :ivar usable: those of them where an origin may be; of before, if there is none among them.
    """

    found: tuple[Address, ...] = ()
    usable: tuple[Address, ...] = ()


@dataclass(frozen=True, slots=True)
class Remembered:
    """:ivar names: by wire name.
    :ivar moves: how often the answers of each zone changed because a name's addresses did; what
        its SOA's serial must not fall behind."""

    names: Mapping[bytes, Known] = field(default_factory=dict)
    moves: Mapping[str, int] = field(default_factory=dict)


def document_of(remembered: Remembered) -> dict[str, Any]:
    """Return what JSON can carry."""
    return {
        "names": {
            name.hex(): [[str(address) for address in addresses] for addresses in known]
            for name, known in remembered.names.items()
        },
        "moves": dict(remembered.moves),
    }


def read_document(document: Any) -> Remembered:
    """Return what :func:`document_of` was given.

    :raises ValueError, TypeError, KeyError, AttributeError: this is none of its documents.
    """
    return Remembered(
        {
            bytes.fromhex(name): Known(*(_addresses(one) for one in known))
            for name, known in document["names"].items()
        },
        {str(zone): int(count) for zone, count in document["moves"].items()},
    )


def write(path: Path, remembered: Remembered) -> None:
    """Replace the file. Blocks; for a thread.

    :raises OSError: it cannot be written; the old one is still there.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
    # Not synced to the disk: after a power cut the names are looked up anew.
    content = json.dumps(document_of(remembered)) + "\n"
    replace_file(path, content.encode("ascii"), durable=False)


def read(path: Path) -> Remembered:
    """Return what was written last, or nothing. Blocks; for a thread."""
    try:
        return read_document(json.loads(path.read_text(encoding="ascii")))
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return Remembered()


def _addresses(texts: list[str]) -> tuple[Address, ...]:
    return tuple(map(ipaddress.ip_address, texts))
