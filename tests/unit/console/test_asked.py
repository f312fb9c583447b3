"""Addresses of pages, taken apart and put together again."""

from __future__ import annotations

from watchducks.console.asked import Asked

ASKED = Asked("/sites/a", (("range", "week"), ("path", "/x"), ("path", "/y&z")))


def test_values() -> None:
    assert ASKED.all("path") == ["/x", "/y&z"]
    assert (ASKED.get("path"), ASKED.get("country")) == ("/y&z", None)
    assert ASKED.url == "/sites/a?range=week&path=%2Fx&path=%2Fy%26z"
    assert Asked("/").url == "/"


def test_links_to_what_is_next() -> None:
    assert ASKED.removed("path", "/x").url == "/sites/a?range=week&path=%2Fy%26z"
    assert ASKED.added("path", "/x") == ASKED, "twice the same is once"
    assert ASKED.replaced(path=None, range="day", from_=None).url == "/sites/a?range=day"
    assert ASKED.replaced(from_="x").get("from") == "x"
