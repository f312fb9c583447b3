"""A site's DNSSEC as the API shows it: what is published, and what its owner does next."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, Final

from watchducks.console.figures import rfc3339
from watchducks.model.problems import InvalidFields, Problem
from watchducks.model.signing import ALGORITHM, KEY_FLAGS, apex_name
from watchducks.model.sites import Site
from watchducks.registry.keys import KeyStep
from watchducks.registry.parents import Parents

# A parent may have any number; enough of them are shown to see which.
MAX_SHOWN_DS: Final = 5
NOTHING: Final = "\N{EN DASH}"


def dnssec_document(site: Site, now: float) -> Mapping[str, Any]:
    """Return how the site's zone is signed at ``now`` (POSIX seconds). Nothing in it is secret.

    ``ds`` is what the parent should have, in the form of a zone file; ``until`` is when the next
    phase comes by itself, and null where it waits for the owner or the parent.
    """
    signing, apex = site.signing.at(now), apex_name(site.zone)
    return {
        "site": site.name,
        "zone": site.zone,
        "dnssec": signing.wanted,
        "phase": signing.phase.name.lower(),
        "until": rfc3339(signing.due) if signing.due else None,
        "ds": [str(ds) for ds in signing.wanted_ds(apex)],
        "keys": [
            {
                "key_tag": key.tag,
                "flags": KEY_FLAGS,
                "algorithm": ALGORITHM,
                "public_key": base64.b64encode(key.public).decode(),
            }
            for key in signing.keys
        ],
    }


async def check_parent(site: Site, parents: Parents, now: float) -> None:
    """Look whether the parent has what its owner confirms; one that cannot be asked is no reason
    to refuse.

    :raises InvalidFields: the parent has something else.
    """
    signing = site.signing.at(now)
    if not signing.waits_for_parent:
        return  # the step itself is refused, with a better reason
    found = await parents.ds_of(site.zone)
    if found is not None and not signing.fulfilled(apex_name(site.zone), found):
        shown = "; ".join(found[:MAX_SHOWN_DS]) or NOTHING
        raise InvalidFields({"step": Problem("parent", "The parent has: {found}.", found=shown)})


def wanted_step(fields: Mapping[str, object]) -> KeyStep:
    """Return the step that ``fields`` ask for.

    :raises InvalidFields: none, or one that there is not.
    """
    try:
        return KeyStep(str(fields.get("step")))
    except ValueError:
        raise InvalidFields({"step": Problem("step", "Choose roll or confirm.")}) from None
