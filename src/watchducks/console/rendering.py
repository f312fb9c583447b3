"""Rendering: templates in the visitor's language."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import tzinfo
from typing import Any
from zoneinfo import ZoneInfo

from jinja2 import Environment, PackageLoader, StrictUndefined, pass_context
from jinja2.runtime import Context

from watchducks.console.answers import Refusal
from watchducks.console.clocks import OFFERED, Clock
from watchducks.console.drawing import bar
from watchducks.console.health import said
from watchducks.console.languages import NAMES, Language, Languages
from watchducks.model.names import display_domain


class Templates:
    """The pages of console/templates, one Jinja environment a language.

    :param asset_url: source file of the bundle -> its address, or None without a bundle.
    """

    def __init__(self, languages: Languages, asset_url: Callable[[str], str | None]) -> None:
        self._environments = {
            language.code: _environment(language, asset_url) for language in languages
        }

    def pieces(self, language: Language, name: str, /, **values: Any) -> Iterator[str]:
        """Write the page ``name`` filled with ``values``; everything is escaped."""
        template = self._environments[language.code].get_template(name)
        return template.generate(values)

    def refusal(self, language: Language, refusal: Refusal, title: str, detail: str) -> str:
        """Return the page of a refusal."""
        return "".join(
            self.pieces(
                language,
                "error.html",
                page="error",
                title=title,
                detail=detail,
                status=refusal.status,
                signed_in=False,
                clock=Clock(ZoneInfo("UTC")),
                now=0.0,
                zone_form=(),
                language_links={code: f"/?lang={code}" for code in NAMES},
            )
        )


def _by_the_clock(write: Callable[[float, tzinfo], str]) -> Callable[[Context, float], str]:
    """Return a filter that writes times by the clock of the page it stands on."""

    @pass_context
    def written(context: Context, posix_seconds: float) -> str:
        clock: Clock = context["clock"]
        return write(posix_seconds, clock.zone)

    return written


def _environment(language: Language, asset_url: Callable[[str], str | None]) -> Environment:
    environment = Environment(
        loader=PackageLoader("watchducks.console"),
        autoescape=True,
        undefined=StrictUndefined,
        auto_reload=False,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.i18n"],
    )
    install: Any = environment
    install.install_gettext_translations(language.translations, newstyle=True)
    environment.globals.update(
        language=language,
        languages=NAMES,
        asset_url=asset_url,
        display_domain=display_domain,
        bar=bar,
        offered_zones=OFFERED,
    )
    environment.filters.update(
        number=language.number,
        compact=language.compact,
        brief=language.brief,
        milliseconds=language.milliseconds,
        moment=_by_the_clock(language.moment),
        date=_by_the_clock(language.date),
        problem=language.problem,
        said=lambda note: said(note, language),
    )
    return environment
