"""The rules for a site's choices: one value after the other, and then together. Pure.

Each value is accepted as JSON has it (``true``, ``300``) and as text, which is what a form and the
command send.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final

from watchducks.model.problems import InvalidFields, Problem
from watchducks.model.sites import ORIGIN_TLS, SiteChoices

# In the order of a form.
CHOICES: Final = (
    "origin_tls",
    "origin_pin",
    "redirect_to_https",
    "hsts_seconds",
    "keep_networks",
    "query_parameters",
    "honour_gpc",
    "ranked",
)

# Two years: what the browsers' preload list recommends; a longer time only makes a mistake worse.
MAX_HSTS_SECONDS: Final = 2 * 365 * 24 * 3600
# More digits than any number of seconds that is accepted has; what is longer is not even parsed.
_MAX_DIGITS: Final = 9
# As long as the column of the registry; some twenty names.
MAX_PARAMETERS_CHARACTERS: Final = 255
_YES: Final = frozenset({"true", "yes", "on", "1"})
_NO: Final = frozenset({"false", "no", "off", "0", ""})
# As OpenSSL prints a digest, or as sha256sum does.
_PIN: Final = re.compile(r"(?:[0-9a-f]{2}:?){31}[0-9a-f]{2}")
# Names as forms and frameworks make them: page, filter[colour], utm_content.
_PARAMETER: Final = re.compile(r"[A-Za-z0-9._~\[\]-]{1,64}")


def validate_choice(field: str, value: object) -> str | bool | int:
    """Return the value of one of :data:`CHOICES`, normalised.

    :raises Problem: it is not accepted.
    """
    match field:
        case "origin_tls":
            return _origin_tls(value)
        case "origin_pin":
            return _origin_pin(value)
        case "hsts_seconds":
            return _hsts(value)
        case "query_parameters":
            return _parameters(value)
        case _:
            return yes_or_no(value)


def _word(value: object) -> str | None:
    """Return a text without what does not matter in it."""
    return value.strip().lower() if isinstance(value, str) else None


def _origin_tls(value: object) -> str:
    word = _word(value)
    if word not in ORIGIN_TLS:
        raise Problem("origin-tls", "Choose verify, pinned or off.")
    return word


def _origin_pin(value: object) -> str:
    word = _word(value)
    if word is None or not (word == "" or _PIN.fullmatch(word)):
        raise Problem(
            "origin-pin",
            "Enter the SHA-256 of the certificate's public key: 64 hexadecimal digits.",
        )
    return word.replace(":", "")


def yes_or_no(value: object) -> bool:
    """Return what was chosen between two.

    :raises Problem: neither.
    """
    word = _word(value)
    if isinstance(value, bool):
        return value
    if word in _YES or word in _NO:
        return word in _YES
    raise Problem("boolean", "Choose true or false.")


def _hsts(value: object) -> int:
    word = _word(value)
    if word is not None and word.isascii() and word.isdigit() and len(word) <= _MAX_DIGITS:
        value = int(word)
    # A bool is an int in Python; `true` is no number of seconds.
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_HSTS_SECONDS:
        raise Problem("hsts", "Enter a number of seconds from 0 to {most}.", most=MAX_HSTS_SECONDS)
    return value


def _parameters(value: object) -> str:
    """Return the names, each once, in their order, with a space between them."""
    text = value.replace(",", " ") if isinstance(value, str) else None
    # What is far too long is not even split.
    names = text.split() if text is not None and len(text) <= 2 * MAX_PARAMETERS_CHARACTERS else []
    kept = " ".join(dict.fromkeys(names))
    if (
        text is None
        or (text.strip() and not names)
        or len(kept) > MAX_PARAMETERS_CHARACTERS
        or not all(map(_PARAMETER.fullmatch, names))
    ):
        raise Problem(
            "query-parameters",
            "Enter names of parameters, with spaces between them: {most} characters at most.",
            most=MAX_PARAMETERS_CHARACTERS,
        )
    return kept


def consistent(choices: SiteChoices, *, pin_given: bool) -> SiteChoices:
    """Return choices that fit together.

    :param pin_given: the pin was asked for just now; one from before ends with ``pinned``.
    :raises InvalidFields: a pin is missing, or given where it would not be used.
    """
    if choices.origin_tls == "pinned":
        if not choices.origin_pin:
            missing = Problem("pin-missing", "origin_tls = pinned needs a pin.")
            raise InvalidFields({"origin_pin": missing})
        return choices
    if choices.origin_pin and pin_given:
        unused = Problem("pin-unused", "A pin is used only with origin_tls = pinned.")
        raise InvalidFields({"origin_pin": unused})
    return replace(choices, origin_pin="")
