"""How visitors came."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchducks.journal.channels import (
    CAMPAIGN_CHARACTERS,
    NO_CAMPAIGN,
    Campaign,
    Channels,
    campaign_of,
)

CHANNELS = Channels()
HOST = "www.ducks.co.kr"


@pytest.mark.parametrize(
    ("referrer", "channel"),
    [
        ("", "direct"),
        ("www.ducks.co.kr", "internal"),
        ("shop.ducks.co.kr", "internal"),
        ("www.geese.co.kr", "referral"),
        ("www.google.com", "search"),
        ("www.google.co.kr", "search"),
        ("google.evil.test", "referral"),
        ("mail.google.com", "mail"),
        ("gemini.google.com", "ai"),
        ("search.naver.com", "search"),
        ("m.blog.naver.com", "social"),
        ("t.co", "social"),
        ("l.facebook.com", "social"),
        ("chatgpt.com", "ai"),
        ("www.perplexity.ai", "ai"),
        ("com.google.android.gm", "mail"),
        ("[2001:db8::1]", "referral"),
        ("198.51.100.7", "referral"),
        ("localhost", "referral"),
    ],
)
def test_by_referrer(referrer: str, channel: str) -> None:
    assert CHANNELS.of(referrer, HOST, NO_CAMPAIGN) == channel


@pytest.mark.parametrize(
    ("query", "channel"),
    [
        ("utm_source=google&utm_medium=cpc", "paid"),
        ("gclid=abc", "paid"),
        ("x=1&msclkid=abc", "paid"),
        ("utm_medium=paid_social&utm_source=facebook", "paid"),
        ("utm_medium=Email", "mail"),
        ("utm_medium=social", "social"),
        ("utm_source=newsletter&utm_medium=email&utm_campaign=spring", "mail"),
        ("utm_source=chatgpt.com", "ai"),
        ("utm_source=naver", "search"),
        ("utm_source=partner", "referral"),
        ("utm_campaign=only", "direct"),
        ("autm_source=google", "direct"),
    ],
)
def test_by_campaign(query: str, channel: str) -> None:
    assert CHANNELS.of("", HOST, campaign_of(f"/?{query}")) == channel


def test_what_is_paid_for_comes_first_and_a_source_last() -> None:
    assert CHANNELS.of("www.google.com", HOST, Campaign(paid=True)) == "paid"
    assert CHANNELS.of("l.facebook.com", HOST, Campaign(medium="email")) == "mail"
    assert CHANNELS.of("l.facebook.com", HOST, Campaign(source="google")) == "social"
    assert CHANNELS.of("198.51.100.7", "203.51.100.7", NO_CAMPAIGN) == "referral"


def test_campaigns_are_read_from_queries() -> None:
    long = "x" * 500
    asked = "/p?a=1&utm_source=Face%20Book&utm_medium=CPC&utm_campaign=Fr%C3%BChling+1&b"
    assert campaign_of(asked) == Campaign("face book", "cpc", "Frühling 1", paid=True)
    assert campaign_of(f"/?utm_campaign={long}").name == "x" * CAMPAIGN_CHARACTERS
    assert campaign_of("/utm_source=x") is NO_CAMPAIGN
    assert campaign_of("/?" + "a=1&" * 5000 + "utm_source=late") == NO_CAMPAIGN


@given(st.text(max_size=200), st.text(max_size=100))
def test_anything_may_be_asked(query: str, host: str) -> None:
    campaign = campaign_of(f"/?utm_source=x&{query}")
    assert CHANNELS.of(host.lower(), HOST, campaign)
