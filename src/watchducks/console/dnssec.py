"""A site's DNSSEC for the API and the pages: what is published, and what its owner does next."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from watchducks.console.figures import rfc3339
from watchducks.console.interfaces import Sites
from watchducks.console.languages import Language, mark
from watchducks.console.registrations import Registrations
from watchducks.model.accounts import Actor
from watchducks.model.problems import InvalidFields, Problem
from watchducks.model.signing import ALGORITHM, KEY_FLAGS, Ds, Phase, apex_name
from watchducks.model.sites import Site
from watchducks.registry.keys import KeyStep
from watchducks.registry.parents import Parents

# A parent may have any number; enough of them are shown to see which.
MAX_SHOWN_DS: Final = 5
NOTHING: Final = "\N{EN DASH}"

# What an owner may ask for on the page: the API's steps, and the switch.
ON: Final = "on"
OFF: Final = "off"


@dataclass(frozen=True, slots=True)
class Explanation:
    """A phase in the words of somebody who has never read an RFC.

    :ivar title: what it is now. :ivar following: what happens next, or what to do.
    :ivar steps: what the owner may ask for.
    """

    title: str
    following: str
    steps: tuple[str, ...]


EXPLANATIONS: Final[Mapping[Phase, Explanation]] = {
    Phase.OFF: Explanation(
        mark("Off: answers are not signed."),
        mark(
            "Switched on, the name servers sign what they answer, so that nobody on the way can"
            " forge it. A few hours later a DS record appears here, which you enter where you"
            " bought the domain; if that is not possible there, DNSSEC is of no use."
        ),
        (ON,),
    ),
    Phase.BEGINNING: Explanation(
        mark("Beginning: answers are signed, but not yet everybody has the signatures."),
        mark(
            "At the time below the DS record for your registrar appears here. There is nothing to"
            " do until then."
        ),
        (OFF,),
    ),
    Phase.SIGNED: Explanation(
        mark("On: answers are signed."),
        mark(
            "Enter this DS record where you bought the domain, and leave it there. With it, whoever"
            " checks signatures believes no others."
        ),
        (KeyStep.ROLL, OFF),
    ),
    Phase.PUBLISHING: Explanation(
        mark("Changing keys: the new key is being made known."),
        mark(
            "At the time below the new key begins to sign, and its DS record appears here. Leave"
            " the present one at the registrar until then."
        ),
        (OFF,),
    ),
    Phase.REPLACING: Explanation(
        mark("Changing keys: waiting for the registrar."),
        mark(
            "Replace the DS record at the registrar by this one. We look every ten minutes whether"
            " it is there and no other, and go on by ourselves; or you confirm it here."
        ),
        (KeyStep.CONFIRM, OFF),
    ),
    Phase.RETIRING: Explanation(
        mark("Changing keys: the old key is leaving."),
        mark("At the time below the old key is removed. There is nothing to do."),
        (OFF,),
    ),
    Phase.WITHDRAWING: Explanation(
        mark("Ending: waiting for the registrar. Answers are signed as before."),
        mark(
            "Remove the DS record at the registrar. We look every ten minutes whether it is gone,"
            " and go on by ourselves; or you confirm it here."
        ),
        (KeyStep.CONFIRM, ON),
    ),
    Phase.ENDING: Explanation(
        mark("Ending: the DS record is gone, but not everybody has forgotten it."),
        mark("At the time below answers are no longer signed. There is nothing to do."),
        (ON,),
    ),
}

STEP_NAMES: Final[Mapping[str, str]] = {
    ON: mark("Switch DNSSEC on"),
    OFF: mark("Switch DNSSEC off"),
    KeyStep.ROLL: mark("Change the key"),
    KeyStep.CONFIRM: mark("The registrar has done it"),
}


@dataclass(frozen=True, slots=True)
class Card:
    """What the settings page shows.

    :ivar until: POSIX seconds at which what follows comes by itself; 0: it does not.
    :ivar steps: what may be asked for, with what it is called.
    """

    title: str
    following: str
    until: int
    ds: Sequence[Ds]
    steps: Sequence[tuple[str, str]]


def dnssec_card(site: Site, language: Language, now: float) -> Card:
    """Return how the site's zone is signed at ``now`` (POSIX seconds), for people."""
    signing = site.signing.at(now)
    explained, word = EXPLANATIONS[signing.phase], language.gettext
    return Card(
        word(explained.title),
        word(explained.following),
        signing.due,
        signing.wanted_ds(apex_name(site.zone)),
        [(str(step), word(STEP_NAMES[step])) for step in explained.steps],
    )


class Dnssec:
    """Takes the steps that owners ask for.

    :param now: gives POSIX seconds.
    :param parents: to see whether what an owner confirms is so; None: owners are believed.
    """

    def __init__(
        self,
        sites: Sites,
        registrations: Registrations,
        parents: Parents | None,
        *,
        now: Callable[[], float],
    ) -> None:
        self._sites = sites
        self._registrations = registrations
        self._parents = parents
        self._now = now

    async def take(self, site: Site, step: str, *, by: Actor) -> Site:
        """Switch on or off, or take one step of the keys; return the site as it is then.

        :raises InvalidFields: it is not the time for this step, or the parent has something else.
        :raises SiteNotFound: there is no such site (any more).
        """
        if step in (ON, OFF):
            return await self._registrations.change(site.name, {"dnssec": step}, by=by)
        wanted = wanted_step({"step": step})
        if wanted is KeyStep.CONFIRM and self._parents is not None:
            await check_parent(site, self._parents, self._now())
        return await self._sites.step_keys(site.name, wanted, by=by)


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
