"""Which sites share a certificate."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.nameserver.fakes import changed, site
from watchducks.certificates.groups import MAX_NAMES, Groups
from watchducks.model.cutover import CutoverRules
from watchducks.model.sites import Site, SiteState
from watchducks.model.zones import APEX, ZoneContents

DELEGATED = CutoverRules(require_delegation=True, acme=True)


def made(id_: int, *hosts: str, state: SiteState = SiteState.DELEGATED) -> Site:
    contents = ZoneContents(hosts or (APEX,))
    return replace(site(f"s{id_}.example"), id=id_, state=state, contents=contents)


def groups(per_certificate: int, *sites: Site) -> Groups:
    found = Groups(per_certificate, DELEGATED)
    found.apply(changed(sites))
    return found


def all_bundles(found: Groups, *, kept: bool = False) -> dict[str, tuple[str, ...]]:
    return {
        bundle: names
        for group in found.all()
        for bundle, names in found.bundles(group, (), kept=kept).items()
    }


@given(st.sets(st.integers(1, 60), min_size=1), st.integers(1, 5), st.data())
def test_sites_stay_whoever_comes_and_goes(ids: set[int], size: int, data: st.DataObject) -> None:
    def of(chosen: set[int]) -> dict[str, str]:
        found = all_bundles(groups(size, *map(made, chosen)))
        return {name: bundle for bundle, names in found.items() for name in names}

    whole = of(ids)
    assert len(whole) == len(ids)
    assert all(list(whole.values()).count(bundle) <= size for bundle in whole.values())
    assert of(data.draw(st.sets(st.sampled_from(sorted(ids))))).items() <= whole.items()


def test_no_certificate_has_more_names_than_an_authority_takes() -> None:
    hosts = tuple(f"n{n}" for n in range(60))
    found = all_bundles(groups(2, made(2, *hosts), made(3, *hosts)))
    assert sorted(map(len, found.values())) == [60, 60]
    (names,) = all_bundles(groups(1, made(1, *(f"n{n}" for n in range(150))))).values()
    assert len(names) == MAX_NAMES


def test_a_site_alone_and_back() -> None:
    found = groups(10, made(1), made(2))
    assert found.bundles(0, ()) == {"bundle.10.0": ("s1.example", "s2.example")}
    assert found.bundles(0, {"s2.example"}) == {
        "bundle.10.0": ("s1.example",),
        "s2.example": ("s2.example",),
    }


def test_only_whose_domain_is_ours_to_answer_for() -> None:
    found = groups(
        1, made(1, state=SiteState.REGISTERED), made(2), made(3, state=SiteState.MOVED), made(4)
    )
    assert all_bundles(found).keys() == {"s2.example", "s4.example"}
    assert len(all_bundles(found, kept=True)) == 4
    found = Groups(1, CutoverRules(acme=True))
    found.apply(changed([made(1, state=SiteState.REGISTERED)]))
    assert all_bundles(found).keys() == {"s1.example"}


def test_what_leaves_is_gone() -> None:
    found = groups(2, made(2), made(3))
    assert found.zone_of("s2.example") == "s2.example"
    assert found.apply(changed(removed=["s2.example", "never.example"])) == {1}
    assert found.zone_of("s2.example") is None
    assert not found.has("s2.example")
    assert found.of_names(["s2.example", "s3.example"]) == {1}
    assert found.apply(changed([made(3, APEX, "shop")])) == {1}
    assert found.zone_of("shop.s3.example") == "s3.example"
    found.apply(changed(removed=["s3.example"]))
    assert list(found.all()) == []
