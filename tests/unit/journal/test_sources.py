"""For how long it is remembered who asked."""

from __future__ import annotations

from tests.unit.journal.samples import file_of, row
from watchducks.journal.records import decode
from watchducks.journal.sources import KEPT_SECONDS, Knowledge


def test_who_has_left_is_forgotten() -> None:
    knowledge = Knowledge()
    knowledge.refresh(KEPT_SECONDS)
    content = file_of(row(client="192.0.2.1"), row(client="192.0.2.2"))

    def seen(now: float) -> tuple[list[str], list[int]]:
        """Return the addresses of an hour's rows, and the identities of what is known of them."""
        knowledge.refresh(now)
        sources = decode(content).sources
        about = [knowledge.about(source, b"k" * 16) for source in sources]
        return [source.client for source in sources], [id(one) for one in (*sources, *about)]

    first = seen(KEPT_SECONDS + 1)
    assert first[0] == ["192.0.2.1", "192.0.2.2"]
    assert seen(2 * KEPT_SECONDS - 1) == first
    kept = decode(content).sources  # so that nothing new has their identities
    about = [knowledge.about(source, b"k" * 16) for source in kept]
    later = seen(2 * KEPT_SECONDS)
    assert later[0] == first[0]
    assert not set(later[1]) & {id(one) for one in (*kept, *about)}
