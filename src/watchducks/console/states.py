"""The states of a site, in the reader's words."""

from __future__ import annotations

from typing import Final

from watchducks.console.languages import Language, mark
from watchducks.model.sites import SiteState

_NAMES: Final = {
    SiteState.REGISTERED: mark("registered"),
    SiteState.DELEGATED: mark("delegated"),
    SiteState.CERTIFIED: mark("certified"),
    SiteState.ACTIVE: mark("active"),
    SiteState.FAILOVER: mark("failover"),
    SiteState.MOVED: mark("moved"),
}


def state_names(language: Language) -> dict[str, str]:
    """Return state -> what it is called."""
    return {state.value: language.gettext(name) for state, name in _NAMES.items()}
