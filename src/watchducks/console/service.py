"""The status page of the service itself: what works now, and when it did not."""

from __future__ import annotations

from typing import Final

from watchducks.console.answers import Answers
from watchducks.console.figures import Figures
from watchducks.console.frame import Frame
from watchducks.console.http import ConsoleRequest
from watchducks.console.interfaces import Readiness, SiteFigures
from watchducks.console.languages import Languages, mark
from watchducks.console.parts import parts_of_the_service
from watchducks.console.routing import Routes, router
from watchducks.stores.interfaces import StoreRefused, StoreUnavailable

PATHS: Final = (b"/status",)


class Service(Routes):
    """The page of :data:`PATHS`."""

    app = router()

    def __init__(
        self,
        *,
        readiness: Readiness,
        figures: Figures,
        analytics: SiteFigures,
        frame: Frame,
        languages: Languages,
        answers: Answers,
    ) -> None:
        self._readiness = readiness
        self._figures = figures
        self._analytics = analytics
        self._frame = frame
        self._languages = languages
        super().__init__(answers)

    @app.route("/status", methods=["GET"])
    async def status(self, request: ConsoleRequest) -> bytes:
        """Show what works, for everybody."""
        language = self._languages.of(request)
        word = language.gettext
        checks = self._readiness.checks()
        try:
            failovers = await self._analytics.failovers(self._figures.period("month"))
        except (StoreUnavailable, StoreRefused):
            failovers = None
        lasting = bool(failovers) and failovers is not None and failovers[-1].ended is None
        well = all(checks.values()) and not lasting
        if well:
            summary = word(mark("Everything works."))
        elif lasting:
            summary = word(
                mark(
                    "Visitors are led straight to the origins: sites work, but nothing is counted."
                )
            )
        else:
            summary = word(mark("Something does not work. Sites are served all the same."))
        return self._frame.page(
            request,
            "status.html",
            page="status",
            well=well,
            summary=summary,
            parts=parts_of_the_service(language, checks),
            failovers=failovers,
        )
