"""What a follower knows after any story of the registry is what the registry has."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.registry.examples import example_site
from watchducks.model.changes import Changes, Head
from watchducks.model.sites import Site
from watchducks.registry.known import KnownSites


class Registry:
    """A story of changes, and what a registry that lived through it says."""

    def __init__(self, lineage: str) -> None:
        self.lineage = lineage
        self.revision = 0
        self.zones: dict[str, tuple[int, Site | None]] = {}

    def change(self, zone: str, *, removed: bool) -> None:
        self.revision += 1
        site = None if removed else example_site(zone, revision=self.revision)
        self.zones[zone] = (self.revision, site)

    def page(self, revision: int, limit: int) -> Changes:
        later = [(r, z, s) for z, (r, s) in self.zones.items() if r > revision]
        later.sort(key=lambda change: change[0])
        page, more = later[:limit], len(later) > limit
        return Changes(
            page[-1][0] if more else self.revision,
            tuple(site for _, _, site in page if site),
            tuple(zone for _, zone, site in page if site is None),
            more,
        )

    def sites(self) -> dict[str, Site]:
        return {zone: site for zone, (_, site) in self.zones.items() if site}


ZONES = st.sampled_from([f"z{number}.example" for number in range(5)])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), ZONES),
        st.tuples(st.just("remove"), ZONES),
        st.tuples(st.just("follow"), st.integers(0, 4)),  # so many pages, then broken off
        st.tuples(st.just("back up"), st.none()),
        st.tuples(st.just("roll back"), st.none()),
        st.tuples(st.just("replace"), st.none()),
    ),
    max_size=40,
)


def follow(
    known: KnownSites, follower: dict[str, Site], registry: Registry, limit: int, pages: int
) -> None:
    position = known.next_from(Head(registry.lineage, registry.revision))
    while position is not None and pages:
        pages -= 1
        changes = known.take(registry.page(position, limit))
        assert not {site.zone for site in changes.sites} & set(changes.removed)
        for zone in changes.removed:
            follower.pop(zone, None)
        follower.update({site.zone: site for site in changes.sites})
        # The follower and the snapshot never tell different stories.
        assert follower == known.sites
        position = changes.revision if changes.more else None


@given(steps=STEPS, limit=st.integers(1, 4))
def test_a_follower_ends_up_with_what_the_registry_has(
    steps: list[tuple[str, object]], limit: int
) -> None:
    registry, known, follower = Registry("first"), KnownSites(), dict[str, Site]()
    backup: tuple[int, dict[str, tuple[int, Site | None]]] = (0, {})
    for number, (step, detail) in enumerate(steps):
        match step:
            case "put":
                registry.change(str(detail), removed=False)
            case "remove":
                registry.change(str(detail), removed=True)
            case "follow":
                assert isinstance(detail, int)
                follow(known, follower, registry, limit, detail)
            case "back up":
                backup = registry.revision, dict(registry.zones)
            case "roll back":
                # Seen before the next change: one that is not, and is overtaken by as many new
                # changes, cannot be told by the revision.
                registry.revision, registry.zones = backup[0], dict(backup[1])
                follow(known, follower, registry, limit, 1)
            case _:
                registry, backup = Registry(f"number {number}"), (0, {})
                follow(known, follower, registry, limit, 1)
    follow(known, follower, registry, limit, pages=100)
    assert follower == registry.sites()
    assert known.complete
    assert known.next_from(Head(registry.lineage, registry.revision)) is None


def test_zones_are_served_until_a_reload_is_complete() -> None:
    registry, known = Registry("first"), KnownSites()
    for zone in ("a.example", "b.example"):
        registry.change(zone, removed=False)
    follow(known, {}, registry, 10, 10)
    replaced = Registry("second")
    for zone in ("c.example", "b.example"):
        replaced.change(zone, removed=False)
    position = known.next_from(Head("second", 2))
    assert position == 0
    first = known.take(replaced.page(0, 1))
    assert first.removed == ()
    assert (known.complete, set(known.sites)) == (False, {"a.example", "b.example", "c.example"})
    second = known.take(replaced.page(first.revision, 1))
    assert second.removed == ("a.example",)
    assert (known.complete, set(known.sites)) == (True, {"b.example", "c.example"})
