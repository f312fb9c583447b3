"""When a certificate is renewed."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from watchducks.certificates.acme.renewal import (
    MAX_INFO_SECONDS,
    MIN_INFO_SECONDS,
    USUAL_INFO_SECONDS,
    Window,
    due_at,
    read_window,
    renewal_id,
)
from watchducks.certificates.acme.session import parse_links

DAY = 86_400.0


def certificate(serial: int, key_id: bytes | None) -> x509.Certificate:
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(x509.Name([]))
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=1))
    )
    if key_id is not None:
        builder = builder.add_extension(
            x509.AuthorityKeyIdentifier(key_id, None, None), critical=False
        )
    return builder.sign(key, hashes.SHA256())


def test_the_example_of_rfc_9773() -> None:
    key_id = bytes.fromhex("69885B6B87464041E1B37B847BA0AE2CDE01C8D4")
    assert renewal_id(certificate(0x87654321, key_id)) == "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE"
    assert renewal_id(certificate(0x07, key_id)).endswith(".Bw")
    assert renewal_id(certificate(0x07, None)) == ""


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"suggestedWindow": []},
        {"suggestedWindow": {"start": "2026-01-01T00:00:00Z"}},
        {"suggestedWindow": {"start": 5, "end": 6}},
        {"suggestedWindow": {"start": "2026-01-01T00:00:00", "end": "2026-01-02T00:00:00"}},
        {"suggestedWindow": {"start": "2026-01-02T00:00:00Z", "end": "2026-01-01T00:00:00Z"}},
    ],
)
def test_what_is_no_window(document: dict[str, Any]) -> None:
    assert read_window(document, None) is None


@pytest.mark.parametrize(
    ("retry", "again"),
    [(None, USUAL_INFO_SECONDS), (0.0, MIN_INFO_SECONDS), (1e9, MAX_INFO_SECONDS), (600.0, 600.0)],
)
def test_a_window(retry: float | None, again: float) -> None:
    window = {"start": "1970-01-01T00:01:40Z", "end": "1970-01-01T00:03:20+00:00"}
    assert read_window({"suggestedWindow": window}, retry) == Window(100.0, 200.0, again)


@given(st.floats(0, 1, exclude_max=True))
def test_a_window_is_kept_to(share: float) -> None:
    window = Window(40 * DAY, 42 * DAY, 60)
    assert 40 * DAY <= due_at(0, 90 * DAY, window, share) <= 42 * DAY


@pytest.mark.parametrize("days", [0.01, 6.0, 90.0])
def test_no_window_lets_a_certificate_expire(days: float) -> None:
    life = days * DAY
    late = due_at(0, life, Window(life + 1, life + DAY, 60), 0.5)
    assert life / 2 < late < life * 0.9


@given(st.sampled_from([0.01, 1.0, 6.0, 45.0, 90.0]), st.floats(0, 1, exclude_max=True))
def test_without_a_window_a_third_of_the_life_is_left(days: float, share: float) -> None:
    due = due_at(1000, 1000 + days * DAY, None, share)
    assert 0.6 * days * DAY < due - 1000 <= 2 / 3 * days * DAY


def test_links() -> None:
    fields = ['<https://a/1>;rel="alternate", <https://a/2>; title=x; REL=Alternate', "<x>;rel=up"]
    assert parse_links([*fields, "junk", "; rel=alternate"]) == {
        "alternate": ("https://a/1", "https://a/2"),
        "up": ("x",),
    }
