"""Words: each language in which letters are written, with its templates, numbers and days."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from babel.dates import format_date, format_datetime
from babel.numbers import format_compact_decimal, format_decimal, format_percent
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from watchducks import catalogs
from watchducks.model.names import display_domain
from watchducks.model.scans import Note

_PACKAGE: Final = "watchducks.mail"
_DOMAIN: Final = "mail"
# Names that another language reads in letters, and its own: never in a sentence.
UTC_NAME: Final = "UTC"


class Words:
    """One language.

    :ivar code: as in HTML's ``lang``. :ivar name: what it calls itself.
    """

    def __init__(self, code: str) -> None:
        self.code = code
        self.name = catalogs.NAMES[code]
        self._translations = catalogs.read_catalog(_PACKAGE, _DOMAIN, code)
        self._templates = self._environment()

    def say(self, message: str, **facts: Any) -> str:
        """Return ``message`` in this language, its ``%(places)s`` filled."""
        return self._translations.ugettext(message) % facts

    def told(self, note: Note | None) -> str:
        """Return a note as a sentence of this language."""
        if note is None:
            return ""
        return self._translations.ugettext(note.template).format(**note.parameters)

    def render(self, template: str, facts: dict[str, Any]) -> str:
        """Return a template filled with facts; those of HTML are escaped."""
        return self._templates.get_template(template).render(facts)

    def _environment(self) -> Environment:
        environment = Environment(
            loader=PackageLoader(_PACKAGE),
            autoescape=select_autoescape(["html"]),
            undefined=StrictUndefined,
            auto_reload=False,
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=["jinja2.ext.i18n"],
        )
        install: Any = environment
        install.install_gettext_translations(self._translations, newstyle=True)
        environment.globals.update(code=self.code)
        environment.filters.update(
            shown=display_domain,
            told=self.told,
            day=self.day,
            moment=self.moment,
            number=lambda value: format_decimal(value, locale=self.code),
            compact=lambda value: format_compact_decimal(
                value, locale=self.code, fraction_digits=1
            ),
            percent=lambda share: format_percent(share, "#,##0.##%", locale=self.code),
            change=lambda share: catalogs.write_change(share, self.code),
        )
        return environment

    def day(self, posix_seconds: float) -> str:
        """Write a day, in UTC."""
        return format_date(datetime.fromtimestamp(posix_seconds, UTC), "long", locale=self.code)

    def moment(self, posix_seconds: float) -> str:
        """Write a time of day with its date, in UTC."""
        moment = datetime.fromtimestamp(posix_seconds, UTC)
        day = format_datetime(moment, "d MMMM, HH:mm", locale=self.code)
        if self.code == "ko":
            day = format_datetime(moment, "M월 d일 HH:mm", locale=self.code)
        return f"{day} {UTC_NAME}"
