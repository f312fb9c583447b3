"""Languages: which one a visitor reads, its words, and how it writes numbers and times.

The words are those of ``locale/<code>/LC_MESSAGES/console.po`` (:mod:`watchducks.catalogs`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, tzinfo
from functools import lru_cache
from typing import Final

from babel import Locale
from babel.core import UnknownLocaleError, get_global
from babel.dates import format_skeleton
from babel.numbers import format_compact_decimal, format_decimal, format_percent
from babel.support import NullTranslations
from twisted.web.http import Request

from watchducks import catalogs
from watchducks.console.headers import header
from watchducks.model.problems import Problem

DEFAULT: Final = catalogs.DEFAULT
# In the order of the switch.
NAMES: Final = catalogs.NAMES
_PACKAGE: Final = "watchducks.console"
_DOMAIN: Final = "console"
COOKIE: Final = b"language"
# A year: longer than anyone wants to be asked again, shorter than browsers' limit of 400 days.
COOKIE_SECONDS: Final = 365 * 24 * 3600

_BRIEF_DIGITS: Final = 3

# Parameters of problems that are words of ours, and not what a visitor typed.
_WORDS: Final = frozenset({"what", "why"})


def mark(message: str) -> str:
    """Return ``message`` unchanged; it tells the tests that this is a text to translate."""
    return message


class Language:
    """One language: words, numbers, times."""

    def __init__(self, code: str, translations: NullTranslations) -> None:
        self.code = code
        self.locale = Locale.parse(code)
        self.translations = translations

    def gettext(self, message: str) -> str:
        """Return ``message`` in this language."""
        return self.translations.ugettext(message)

    def problem(self, problem: Problem) -> str:
        """Return what is wrong with a value as a sentence of this language."""
        parameters = {
            name: self.gettext(value) if name in _WORDS and isinstance(value, str) else value
            for name, value in problem.parameters.items()
        }
        return self.gettext(problem.template).format(**parameters)

    def number(self, value: float) -> str:
        """Write 12345.6 as this language does; at most one decimal."""
        return _decimal(self.locale, round(value, 1))

    def compact(self, value: float) -> str:
        """Write 12345 shortly (12.3K, 1.2만); small numbers in full."""
        if value < 10_000:
            return self.number(value)
        return format_compact_decimal(value, locale=self.locale, fraction_digits=1)

    def brief(self, value: float) -> str:
        """Write a number in full below 1000, else as shortly as can be: 2.1K, 210M, 3910만."""
        if value < 1000:
            return self.number(value)
        text = format_compact_decimal(value, locale=self.locale, fraction_digits=1)
        if sum(letter.isdigit() for letter in text) <= _BRIEF_DIGITS:
            return text
        return format_compact_decimal(value, locale=self.locale, fraction_digits=0)

    @property
    def first_weekday(self) -> int:
        """Which day a week begins with, 0 being Monday."""
        # Weeks are a country's: that of most people who write this language.
        return int(Locale.parse(get_global("likely_subtags")[self.code]).first_week_day)

    def weekday(self, number: int) -> str:
        """Return the short name of a day of the week, 0 being Monday."""
        return str(self.locale.days["stand-alone"]["abbreviated"][number])

    def percent(self, share: float) -> str:
        """Write 0.9987 as 99.87%. What is not quite all is never rounded up to 100%."""
        if 0.9999 < share < 1:
            share = 0.9999
        return format_percent(share, "#,##0.##%", locale=self.locale)

    def milliseconds(self, value: float) -> str:
        """Write a duration given in milliseconds: 0.8 ms, 240 ms, 1.3 s."""
        if value >= 1000:
            return f"{_decimal(self.locale, round(value / 1000, 1))} s"
        digits = 1 if value < 10 else None
        return f"{_decimal(self.locale, round(value, digits))} ms"

    def change(self, share: float) -> str:
        """Write a change of 0.123 as +12%."""
        return catalogs.write_change(share, self.locale)

    def size(self, octets: float) -> str:
        """Write a number of bytes: 812 B, 1.2 kB, 3.4 GB."""
        for unit in ("B", "kB", "MB", "GB"):
            if octets < 1000:
                return f"{self.number(octets)} {unit}"
            octets /= 1000
        return f"{self.number(octets)} TB"

    def moment(self, posix_seconds: float, zone: tzinfo = UTC) -> str:
        """Write a time of day with its date, by the clock of a zone."""
        moment = datetime.fromtimestamp(posix_seconds, zone)
        return f"{_day(self.locale, moment.date())} {moment:%H:%M}"

    def date(self, posix_seconds: float, zone: tzinfo = UTC) -> str:
        """Write a day, by the clock of a zone."""
        return _day(self.locale, datetime.fromtimestamp(posix_seconds, zone).date())


# A page of a site writes a hundred numbers and as many times, each of which took 0.05 ms, and the
# next one writes mostly the same.
@lru_cache(maxsize=4096)
def _decimal(locale: Locale, value: float) -> str:
    return format_decimal(value, locale=locale)


@lru_cache(maxsize=1024)
def _day(locale: Locale, day: date) -> str:
    return format_skeleton("MMMd", day, locale=locale)


class Languages:
    """The languages there are, and the choice among them."""

    def __init__(self) -> None:
        self._languages = {
            code: Language(code, catalogs.read_catalog(_PACKAGE, _DOMAIN, code)) for code in NAMES
        }

    def __getitem__(self, code: str) -> Language:
        return self._languages[code]

    def __iter__(self) -> Iterator[Language]:
        return iter(self._languages.values())

    def of(self, request: Request) -> Language:
        """Return what the visitor chose (``?lang=``, then the cookie), else the browser's wish."""
        asked = (request.args or {}).get(b"lang", [b""])[0]
        for choice in (asked, request.received_cookies.get(COOKIE, b"")):
            code = choice.decode("ascii", "replace")
            if code in self._languages:
                return self._languages[code]
        return self._languages[negotiate(header(request, b"accept-language"), self._languages)]


def negotiate(accepted: str, available: Mapping[str, object]) -> str:
    """Return the available language Accept-Language likes best (RFC 9110 section 12.5.4)."""
    best, best_weight = DEFAULT, 0.0
    for item in accepted.split(","):
        tag, _, parameter = item.strip().partition(";")
        name, _, value = parameter.strip().partition("=")
        try:
            weight = float(value) if name.strip() == "q" else 1.0
            code = Locale.parse(tag.strip(), sep="-").language
        except (ValueError, TypeError, UnknownLocaleError):
            continue
        if code in available and weight > best_weight:
            best, best_weight = code, weight
    return best


def read_catalog_text(code: str) -> str:
    """Return the text of the gettext catalog of ``code``."""
    return catalogs.read_catalog_text(_PACKAGE, _DOMAIN, code)
