"""Guides: where each registrar hides the name servers of a domain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from watchducks.console.languages import mark


@dataclass(frozen=True, slots=True)
class Guide:
    """:ivar registrar: its name, which is the same in every language but for "another"."""

    registrar: str
    steps: Sequence[str]


GUIDES: Final = (
    Guide(
        mark("Gabia"),
        (
            mark("Sign in at gabia.com and open My Gabia, then Domains."),
            mark("Choose the domain, then Name servers, Set up."),
            mark("Enter the names above as first and second name server, confirm, and save."),
        ),
    ),
    Guide(
        mark("Cloudflare"),
        (
            mark(
                "A domain bought elsewhere: change its name servers there; Cloudflare is not used"
                " any more."
            ),
            mark(
                "A domain bought at Cloudflare cannot leave its name servers; transfer it to"
                " another registrar first."
            ),
        ),
    ),
    Guide(
        mark("GoDaddy"),
        (
            mark("Sign in and open My Products, then the domain, then DNS, Nameservers."),
            mark('Press "Change Nameservers" and choose "I\'ll use my own nameservers".'),
            mark("Enter the names above, save, and confirm. Switch DNSSEC off beside it first."),
        ),
    ),
    Guide(
        mark("Namecheap"),
        (
            mark("Sign in, open Domain List, and press Manage beside the domain."),
            mark('Under Nameservers choose "Custom DNS" and enter the names above.'),
            mark("Press the green tick to save. Under Advanced DNS, switch DNSSEC off first."),
        ),
    ),
    Guide(
        mark("Route 53"),
        (
            mark("Open Route 53 in the AWS console, then Registered domains, then the domain."),
            mark('Choose Actions, "Edit name servers", and replace all by the names above.'),
            mark("Remove the DNSSEC keys of the domain there first. The hosted zone may stay."),
        ),
    ),
    Guide(
        mark("Another registrar"),
        (
            mark("Sign in and open the settings of the domain."),
            mark(
                'Look for Name servers, DNS or Delegation, and choose "own" or "custom" name'
                " servers."
            ),
            mark("Enter the names above, remove all others, and save."),
        ),
    ),
)
