"""Rendering: templates in the visitor's language."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from watchducks.console.answers import Refusal
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

    def render(self, language: Language, name: str, /, **values: Any) -> str:
        """Return the page ``name`` filled with ``values``; everything is escaped."""
        template = self._environments[language.code].get_template(name)
        return template.render(values)

    def refusal(self, language: Language, refusal: Refusal, title: str, detail: str) -> str:
        """Return the page of a refusal."""
        return self.render(
            language,
            "error.html",
            page="error",
            title=title,
            detail=detail,
            status=refusal.status,
            signed_in=False,
            language_links={code: f"/?lang={code}" for code in NAMES},
        )


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
    )
    environment.filters.update(
        number=language.number,
        compact=language.compact,
        milliseconds=language.milliseconds,
        moment=language.moment,
        date=language.date,
        problem=language.problem,
        said=lambda note: said(note, language),
    )
    return environment
