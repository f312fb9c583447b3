"""Filters: which requests count. Applied the same way to every question. Pure.

Who is asked for (people, bots, all) is in the roll-ups; any other filter needs the rows, which are
kept for ``logs.raw_days``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from watchducks.analytics.rollups import FACETS, word
from watchducks.model.problems import InvalidFields, Problem

Audience = Literal["all", "people", "bots"]
AUDIENCES: Final = ("all", "people", "bots")

# Dimension -> SQL for its value.
DIMENSIONS: Final[Mapping[str, str]] = {
    **{name: value for name, (_, value) in FACETS.items()},
    "status_class": "concat(toString(intDiv(status, 100)), 'xx')",
    **{
        name: word(name)
        for name in (
            *("host", "method", "scheme", "protocol", "reason", "browser_version"),
            *("network", "query"),
        )
    },
}

# A question's text and work grow with them; a page has no room for more.
MOST_VALUES: Final = 50
# As long as a path that is kept.
MOST_CHARACTERS: Final = 2048
# At the end of a path: whatever begins with what stands before it.
ANY: Final = "*"


@dataclass(frozen=True, slots=True)
class Filters:
    """Which requests count.

    :ivar audience: people are those of whom nothing says that they are bots.
    :ivar wanted: dimension -> values of which a request has one, in the order of their names.
    """

    audience: Audience = "all"
    wanted: tuple[tuple[str, tuple[str, ...]], ...] = ()

    @property
    def need_rows(self) -> bool:
        """Whether roll-ups cannot tell."""
        return bool(self.wanted)

    def of_rows(self, places: dict[str, str]) -> str:
        """Return " AND ..." for raw rows. :param places: gets the values."""
        text = {"all": "", "people": " AND bot_reason = ''", "bots": " AND bot_reason != ''"}
        return text[self.audience] + "".join(
            f" AND ({' OR '.join(_conditions(name, values, places))})"
            for name, values in self.wanted
        )

    def of_rollups(self) -> str:
        """Return " AND ..." for roll-ups of traffic."""
        return {"all": "", "people": " AND human = 1", "bots": " AND human = 0"}[self.audience]


NONE: Final = Filters()


def _conditions(name: str, values: Sequence[str], places: dict[str, str]) -> list[str]:
    found = []
    for value in values:
        place = f"filter_{len(places)}"
        if name in {"path", "entry"} and value.endswith(ANY):
            places[place] = value.removesuffix(ANY)
            # lengthUTF8 and substringUTF8 are not needed: both count octets.
            beginning = f"substring({DIMENSIONS[name]}, 1, length(%({place})s))"
            found.append(f"{beginning} = %({place})s")
        else:
            places[place] = value
            found.append(f"{DIMENSIONS[name]} = %({place})s")
    return found


def read_filters(audience: str | None, wanted: Mapping[str, Sequence[str]]) -> Filters:
    """Return what a request asks for.

    :raises InvalidFields: an unknown dimension or audience, or too many or too long values.
    """
    problems: dict[str, Problem] = {}
    if audience is not None and audience not in AUDIENCES:
        problems["audience"] = Problem(
            "unknown-audience",
            "{value} is not an audience: all, people or bots",
            value=audience[:50],
        )
    for name, values in wanted.items():
        if name not in DIMENSIONS:
            problems[name[:50]] = Problem(
                "unknown-dimension", "{value} is no dimension to filter by", value=name[:50]
            )
        elif any(len(value) > MOST_CHARACTERS for value in values):
            problems[name] = Problem("too-long", "at most {most} characters", most=MOST_CHARACTERS)
    if sum(len(values) for values in wanted.values()) > MOST_VALUES:
        problems["filters"] = Problem("too-many", "at most {most} values", most=MOST_VALUES)
    if problems:
        raise InvalidFields(problems)
    chosen: Audience = "people" if audience == "people" else "bots" if audience == "bots" else "all"
    return Filters(
        chosen,
        tuple(
            (name, tuple(sorted(set(values)))) for name, values in sorted(wanted.items()) if values
        ),
    )
