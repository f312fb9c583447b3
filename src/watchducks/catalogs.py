"""Catalogs: the gettext files in which a package keeps its words in other languages.

``<package>/locale/<code>/LC_MESSAGES/<domain>.po``, read at start. English is the language of the
sources and needs none.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from io import BytesIO
from types import MappingProxyType
from typing import Final

from babel import Locale
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.numbers import format_decimal, format_percent
from babel.support import NullTranslations, Translations

DEFAULT: Final = "en"
# Code -> what the language calls itself, in the order in which they are offered.
NAMES: Final[Mapping[str, str]] = MappingProxyType({"en": "English", "ko": "한국어"})
# A change is written as a factor from here on: nobody reads +68,579%.
_MANIFOLD: Final = 10.0


def write_change(share: float, locale: Locale | str) -> str:
    """Write a change of 0.123 as +12%, and one of 685.79 as "times 687"."""
    if share >= _MANIFOLD:
        return f"\N{MULTIPLICATION SIGN}{format_decimal(round(1 + share), locale=locale)}"
    return format_percent(share, "+#,##0%;-#,##0%", locale=locale)


def read_catalog_text(package: str, domain: str, code: str) -> str:
    """Return the text of the catalog of ``code``."""
    path = files(package) / "locale" / code / "LC_MESSAGES" / f"{domain}.po"
    return path.read_text("utf-8")


def read_catalog(package: str, domain: str, code: str) -> NullTranslations:
    """Return the translations of ``package`` into the language ``code``."""
    if code == DEFAULT:
        return NullTranslations()
    source = BytesIO(read_catalog_text(package, domain, code).encode("utf-8"))
    compiled = BytesIO()
    write_mo(compiled, read_po(source, locale=code, domain=domain))
    compiled.seek(0)
    return Translations(compiled, domain=domain)
