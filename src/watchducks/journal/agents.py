"""What a User-Agent says of a browser, its system and the kind of its device.

ua-parser knows browsers and systems by its regular expressions, which its Rust engine runs in time
that is linear in the text, whatever somebody sends. Its 633 expressions for models of devices are
left out: they would take 14 MB, and we want to know no more than desktop, mobile or tablet.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final, NamedTuple

from ua_parser import Domain
from ua_parser.loaders import load_lazy_builtins
from ua_parser.regex import Resolver

# Parsing takes 11 us, finding it again 0.1. Some 8 MB when all are as long as they may be.
KEPT_AGENTS: Final = 8192
# Some names are taken from the text itself: what is longer is no browser's.
WORD_CHARACTERS: Final = 64

_WANTED: Final = Domain.USER_AGENT | Domain.OS
# One name a browser, on whatever it runs.
_SAME_BROWSER: Final = {
    "Chrome Mobile": "Chrome",
    "Chrome Mobile iOS": "Chrome",
    "Edge Mobile": "Edge",
    "Firefox Mobile": "Firefox",
    "Firefox iOS": "Firefox",
    "Mobile Safari": "Safari",
    "Opera Mobile": "Opera",
    "Whale Mobile": "Whale",
    "Mobile Safari UI/WKWebView": "iOS app",
    "Chrome Mobile WebView": "Android app",
}
_SAME_SYSTEM: Final = {"Mac OS X": "macOS"}
# Apps whose browser is not theirs; ua-parser sees only that.
_APPS: Final = (("kakaotalk", "KakaoTalk"), ("naver(inapp", "NAVER"), ("line/", "LINE"))
_DESKTOPS: Final = frozenset(
    {"Windows", "macOS", "Linux", "Ubuntu", "Chrome OS", "Fedora", "Debian", "FreeBSD", "OpenBSD"}
)
_TELEVISIONS: Final = (
    *("smart-tv", "smarttv", "googletv", "appletv", "bravia", "web0s", "webos", "crkey", "; aft"),
    "tv;",
)
_CONSOLES: Final = ("playstation", "xbox", "nintendo")
_MOBILES: Final = ("mobile", "iphone", "ipod", "windows phone", "opera mini")


class Agent(NamedTuple):
    """What made a request, as far as it says so; "": it does not.

    :ivar browser_version: the first number of it.
    :ivar device: ``desktop``, ``mobile``, ``tablet`` or ``other``.
    """

    browser: str
    browser_version: str
    system: str
    device: str


UNKNOWN: Final = Agent("", "", "", "")


class Agents:
    """Reads User-Agents. Making one takes 0.1 s and 17 MB; for one thread at a time."""

    def __init__(self) -> None:
        browsers, systems, _ = load_lazy_builtins()
        self._find = Resolver((browsers, systems, []))
        self.of = lru_cache(maxsize=KEPT_AGENTS)(self._of)

    def _of(self, user_agent: str) -> Agent:
        """Return what ``user_agent`` says; it may hold anything."""
        # Halves of surrogate pairs cannot be passed to Rust.
        text = user_agent.encode("utf-8", "replace").decode()
        found = self._find(text, _WANTED)
        lower = text.lower()
        browser = version = system = ""
        if found.user_agent is not None:
            browser = found.user_agent.family[:WORD_CHARACTERS]
            version = (found.user_agent.major or "")[:WORD_CHARACTERS]
        if found.os is not None:
            system = found.os.family[:WORD_CHARACTERS]
        system = _SAME_SYSTEM.get(system, system)
        for token, app in _APPS:
            if token in lower:
                browser, version = app, ""
        return Agent(
            _SAME_BROWSER.get(browser, browser), version, system, _device(lower, browser, system)
        )


def _device(lower: str, browser: str, system: str) -> str:
    """Return the kind of device. An iPad that says it is a Mac, as they do, is one."""
    if any(word in lower for word in (*_TELEVISIONS, *_CONSOLES)):
        return "other"
    if "ipad" in lower or "tablet" in lower or ("android" in lower and "mobile" not in lower):
        return "tablet"
    if any(word in lower for word in _MOBILES):
        return "mobile"
    if system in _DESKTOPS:
        return "desktop"
    return "other" if browser or system else ""
