"""The certificates in the folders of this host, as `watchducks status` tells of them."""

from __future__ import annotations

import heapq
import os
import time
from pathlib import Path
from typing import Any, Final

from watchducks.certificates.pairs import CHAIN_FILE, KEY_FILE, BadPair, read_pair
from watchducks.certificates.report import MAX_TOLD, when

# A folder takes a millisecond to read and to check; nobody waits longer for a status.
MAX_READ: Final = 2_000


def certificates(directory: Path) -> dict[str, Any]:
    """Return what proxies find in ``directory``, as JSON has it. Blocks."""
    folders = []
    if directory.is_dir():
        folders = [
            entry.path
            for entry in os.scandir(directory)
            if any(Path(entry.path, name).exists() for name in (CHAIN_FILE, KEY_FILE))
        ]
    now, usable, unusable = time.time(), [], []
    for folder in map(Path, sorted(folders)[:MAX_READ]):
        try:
            usable.append((read_pair(folder, now=now).not_after, folder.name))
        except BadPair as bad:
            unusable.append({"certificate": folder.name, "reason": str(bad)})
    return {
        "folders": len(folders),
        "looked_at": len(usable) + len(unusable),
        "unusable": unusable[:MAX_TOLD],
        "ending": [
            {"certificate": folder, "ends": when(ends)}
            for ends, folder in heapq.nsmallest(MAX_TOLD, usable)
        ],
    }


def in_lines(told: dict[str, Any]) -> dict[str, Any]:
    """Return what an instance tells of certificates as lines: what is wrong, and what comes next.

    :param told: of the keeper, and with ``files`` as :func:`certificates` has it.
    """
    shown: dict[str, Any] = {}
    files = told.get("files")
    if files is not None:
        shown["certificate folders"] = f"{files['folders']}"
        if files["ending"]:
            first = files["ending"][0]
            shown["first to end"] = f"{first['certificate']} on {first['ends']}"
        for bad in files["unusable"]:
            shown[f"not used: {bad['certificate']}"] = bad["reason"]
    if "kept" in told:
        shown["certificates by ACME"] = f"{told['kept']}, {told['under_way']} orders under way"
        for one in told["due"][:1]:
            shown["next to renew"] = f"{one['certificate']} on {one['due']}, ends {one['ends']}"
        for one in told["failing"]:
            shown[f"fails: {one['name']}"] = f"{one['reason']} (again {one['again']})"
        for one in told["silent"]:
            shown[f"silent: {one['authority']}"] = f"asked again {one['until']}"
        for one in told["waiting"]:
            shown[f"waits: {one['certificate']}"] = f"for {one['authority']} until {one['until']}"
    return shown
