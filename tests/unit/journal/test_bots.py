"""Who says that he is no person, and what browsers say of themselves."""

from __future__ import annotations

import ipaddress
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchducks.journal.agents import WORD_CHARACTERS, Agent, Agents
from watchducks.journal.bots import Bots

BOTS = Bots()
AGENTS = Agents()
CHROME = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko)"
    " Chrome/126.0.0.0 Safari/537.36"
)


@pytest.mark.parametrize(
    ("user_agent", "bot", "reason"),
    [
        ("Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
         "Googlebot", "declared-crawler"),
        ("Mozilla/5.0 (compatible; Yeti/1.1; +https://naver.me/spd)",
         "Yeti (Naver)", "declared-crawler"),
        ("Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; GPTBot/1.2;"
         " +https://openai.com/gptbot)", "GPTBot", "declared-ai-crawler"),
        ("Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; ClaudeBot/1.0;"
         " +claudebot@anthropic.com)", "ClaudeBot", "declared-ai-crawler"),
        ("Feedly/1.0 (+http://www.feedly.com/fetcher.html; like FeedFetcher-Google)",
         "Feedly", "declared-crawler"),
        ("Mozilla/5.0 (compatible; duck-spotting-bot/0.1)", "duck-spotting-bot",
         "declared-crawler"),
        ("facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)",
         "Facebook", "declared-crawler"),
        (CHROME.replace("Chrome", "HeadlessChrome"), "Headless Chrome", "headless"),
        ("curl/8.5.0", "curl", "tool"),
        ("python-requests/2.32.3", "Python", "tool"),
        ("Go-http-client/2.0", "Go", "tool"),
        ("SomethingOfMine/3", "", "tool"),
        ("", "", "no-user-agent"),
        ("  ", "", "no-user-agent"),
        (CHROME, "", ""),
        ("Mozilla/5.0 (Linux; Android 9; CUBOT_NOTE_20) AppleWebKit/537.36 Chrome/126 Mobile", "",
         ""),
        ("Opera/9.80 (Windows NT 6.1) Presto/2.12.388 Version/12.16", "", ""),
    ],
)  # fmt: skip
def test_who_is_what_and_why(user_agent: str, bot: str, reason: str) -> None:
    assert BOTS.claim(user_agent)[:2] == (bot, reason)


@pytest.mark.parametrize(
    ("user_agent", "agent"),
    [
        (CHROME, Agent("Chrome", "126", "Windows", "desktop")),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like"
         " Gecko) Version/17.5 Mobile/15E148 Safari/604.1", Agent("Safari", "17", "iOS", "mobile")),
        ("Mozilla/5.0 (iPad; CPU OS 16_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko)"
         " Version/16.1 Mobile/15E148 Safari/604.1", Agent("Safari", "16", "iOS", "tablet")),
        ("Mozilla/5.0 (Linux; Android 14; SM-S921N) AppleWebKit/537.36 (KHTML, like Gecko)"
         " Chrome/126.0.0.0 Mobile Safari/537.36 KAKAOTALK 10.8.0",
         Agent("KakaoTalk", "", "Android", "mobile")),
        ("Mozilla/5.0 (Linux; Android 13; SM-X700) AppleWebKit/537.36 (KHTML, like Gecko)"
         " Chrome/126.0.0.0 Safari/537.36", Agent("Chrome", "126", "Android", "tablet")),
        ("Mozilla/5.0 (Macintosh; Intel Mac OS X 10.15; rv:127.0) Gecko/20100101 Firefox/127.0",
         Agent("Firefox", "127", "macOS", "desktop")),
        ("Mozilla/5.0", Agent("", "", "", "")),
    ],
)  # fmt: skip
def test_what_browsers_say(user_agent: str, agent: Agent) -> None:
    assert AGENTS.of(user_agent) == agent


@given(st.text(st.characters(codec=None), max_size=512))
def test_anything_may_be_sent(user_agent: str) -> None:
    for text in (user_agent, "Mozilla/5.0 " + user_agent):
        assert max(map(len, AGENTS.of(text))) <= WORD_CHARACTERS
        assert len(BOTS.claim(text).bot) <= WORD_CHARACTERS


@pytest.mark.parametrize("piece", ["-", "bo", "Mozilla/5.0 (", "a1.", "Chrome/1 "])
def test_nobody_makes_it_slow(piece: str) -> None:
    text = (piece * 512)[:512]
    began = time.process_time()
    AGENTS.of(text)
    BOTS.claim(text)
    assert time.process_time() - began < 0.1


def test_the_file_of_crawlers_is_sound() -> None:
    tokens = [token for crawler in BOTS.crawlers for token in crawler.tokens]
    assert len(set(tokens)) == len(tokens) > 100
    assert all(token == token.lower() and len(token) >= 4 for token in tokens)
    for crawler in BOTS.crawlers:
        # What it is called itself leads to it, not to one before it.
        for token in crawler.tokens:
            assert BOTS.claim(f"Mozilla/5.0 (compatible; {token})").crawler == crawler, token


def test_whose_addresses_they_are() -> None:
    google = next(one for one in BOTS.crawlers if one.name == "Googlebot")
    assert google.owns("crawl-66-249-66-1.googlebot.com")
    assert not google.owns("googlebot.com.evil.test")
    assert not google.owns("evilgooglebot.com")
    apple = next(one for one in BOTS.crawlers if one.name == "Applebot")
    assert apple.publishes(ipaddress.ip_address("17.58.97.1"))
    assert not apple.publishes(ipaddress.ip_address("2001:db8::1"))
