"""What is due for one certificate."""

from __future__ import annotations

from watchducks.certificates.plan import (
    COUNTED_SECONDS,
    NEVER,
    RETRY_SECONDS,
    Failure,
    Held,
    Issue,
    blamed,
    due_step,
    failed,
    hurried,
    is_open,
    put_right,
)

NOW = 1e9
NAMES = ("a.example", "www.a.example")


def held(*names: str, due: float = NOW + 50, not_after: float = NOW + 100) -> Held:
    return Held(frozenset(names), not_after, due)


A = held(*NAMES)


def failure(times: int, until: float) -> Failure:
    return Failure(times, NOW - 1, until, "dns", "no")


def step(has: Held | None, failures: dict[str, Failure] | None = None) -> Issue | None:
    return due_step("a", NAMES, has, failures or {}, NOW)[0]


def issue(*names: str, renews: bool = False, urgent: bool = True) -> Issue:
    return Issue("a", names, renews=renews, urgent=urgent)


def test_who_has_one_waits_for_its_time() -> None:
    assert step(None) == issue(*NAMES)
    assert due_step("a", NAMES, A, {}, NOW) == (None, NOW + 50)
    assert step(held(*NAMES, due=NOW)) == issue(*NAMES, renews=True, urgent=False)
    assert step(held(*NAMES, due=NOW - 100)) == issue(*NAMES, renews=True)
    assert step(held(*NAMES, not_after=NOW)) == issue(*NAMES)


def test_other_names_are_another_certificate() -> None:
    for other in (held("a.example"), held(*NAMES, "old.a.example")):
        assert step(other) == issue(*NAMES)


def test_a_bad_name_is_left_out_until_its_time() -> None:
    bad = {"www.a.example": failure(1, NOW + 1)}
    assert step(None, bad) == issue("a.example")
    assert due_step("a", NAMES, held("a.example"), bad, NOW) == (None, NOW + 1)
    assert step(held("a.example"), {"www.a.example": failure(1, NOW)}) == issue(*NAMES)
    all_bad = {name: failure(1, NOW + 1) for name in NAMES}
    assert due_step("a", NAMES, None, all_bad, NOW) == (None, NOW + 1)
    assert due_step("a", (), None, {}, NOW) == (None, NEVER)


def test_a_name_that_fails_at_its_renewal_is_not_a_reason_to_order_anew() -> None:
    assert step(A, {"www.a.example": failure(1, NOW + 1)}) is None


def test_failures_wait_longer_each_time_and_keep_to_the_limit_of_five_an_hour() -> None:
    failures: dict[str, Failure] = {}
    now, times = 0.0, []
    while now < 86_400:
        times.append(now)
        failures = failed(failures, {"a.example": ("dns", "no")}, now)
        now = failures["a.example"].until
    assert all(later - earlier > 3600 for earlier, later in zip(times, times[4:], strict=False))
    assert failures["a.example"].until - times[-1] == RETRY_SECONDS[-1]


def test_who_asks_waits_for_nothing_but_the_limit() -> None:
    failures: dict[str, Failure] = {}
    now, times = 0.0, []
    while now < 30_000:
        times.append(now)
        failures = failed(failures, {"a.example": ("dns", "no")}, now)
        failures = hurried(failures, now + 7)
        now = failures["a.example"].until
    assert times[:4] == [0, 7, 14, 21]
    assert times[4] == COUNTED_SECONDS
    assert all(later - earlier >= 3600 for earlier, later in zip(times, times[4:], strict=False))
    late = {"a.example": failure(6, NOW + 9_000), "b.example": failure(1, 0.0)}
    found = hurried(late, NOW)
    assert (found["a.example"].until, found["b.example"].until) == (NOW, 0.0)


def test_what_comes_and_goes_within_an_hour_does_not_begin_anew() -> None:
    once = failed({}, {"a.example": ("dns", "no")}, NOW)
    right = put_right(once, ["a.example"], NOW + 1)
    assert is_open(once)
    assert not is_open(right)
    assert failed(right, {"a.example": ("dns", "no")}, NOW + 2)["a.example"].times == 2
    assert put_right(once, ["a.example"], NOW + COUNTED_SECONDS) == {}
    assert put_right(once, ["b.example"], NOW + COUNTED_SECONDS) == once


def test_who_is_blamed() -> None:
    names = ("a.example", "b.example")
    assert blamed(names, 'Cannot issue for "b.example": forbidden') == ("b.example",)
    assert blamed(names, "Cannot issue") == names
