"""What a page was asked for: its address, taken apart and put together again. Pure.

Everything that a person chooses on a page (period, filters, tabs) is in its address, so that a link
shows to others what it shows to him, and the way back works.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from twisted.web.http import Request

# What is kept from page to page in the links of one page; anything else is nobody's choice.
PERIOD = ("range", "from", "to", "compare")


@dataclass(frozen=True, slots=True)
class Asked:
    """An address of ours: path, and its parameters in their order."""

    path: str
    parameters: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, request: Request, names: Sequence[str]) -> Asked:
        """Return what ``request`` asks for, as far as it is called one of ``names``."""
        given: Mapping[bytes, Sequence[bytes]] = request.args
        parameters = [
            (name, value.decode("utf-8"))
            for name in names
            for value in given.get(name.encode(), ())
            if value
        ]
        return cls(request.path.decode("ascii", "replace"), tuple(dict.fromkeys(parameters)))

    def all(self, name: str) -> list[str]:
        """Return the values of one parameter."""
        return [value for found, value in self.parameters if found == name]

    def get(self, name: str) -> str | None:
        """Return the last value of a parameter; None without one."""
        values = self.all(name)
        return values[-1] if values else None

    def replaced(self, **values: str | None) -> Asked:
        """Return it with one value for each of these; None: without the parameter.

        ``from_`` stands for ``from``, which is Python's.
        """
        names = {name.rstrip("_"): value for name, value in values.items()}
        kept = [pair for pair in self.parameters if pair[0] not in names]
        added = [(name, value) for name, value in names.items() if value is not None]
        return Asked(self.path, (*kept, *added))

    def added(self, name: str, value: str) -> Asked:
        """Return it with one more value."""
        return Asked(self.path, tuple(dict.fromkeys((*self.parameters, (name, value)))))

    def removed(self, name: str, value: str) -> Asked:
        """Return it without this value."""
        return Asked(self.path, tuple(pair for pair in self.parameters if pair != (name, value)))

    def only(self, names: Sequence[str], path: str | None = None) -> Asked:
        """Return it with nothing but these parameters, perhaps for another page."""
        kept = tuple(pair for pair in self.parameters if pair[0] in names)
        return Asked(self.path if path is None else path, kept)

    @property
    def url(self) -> str:
        """The address, as a link has it."""
        return f"{self.path}?{urlencode(self.parameters)}" if self.parameters else self.path
