"""Whether an instance really does its work, asked through the doors that only it has."""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Callable, Mapping
from typing import Any, Final

import dns.exception
import dns.message
import dns.query
import dns.rcode

from watchducks.instances import LOOPBACK

# On loopback, of a process that has nothing to do yet: milliseconds on a healthy host.
ANSWER_SECONDS: Final = 5.0
_HEALTH_PATH: Final = "/.well-known/watchducks/health"


class NotProven(Exception):
    """It does not do its work; the text says which part, and why."""


def prove(told: Mapping[str, Any], server: str) -> None:
    """Ask each role of an instance for something, and return if all was right.

    :param told: what it says of itself (:mod:`watchducks.appliance.control`).
    :param server: the first of ``nameserver.names``, of which a name server of ours knows.
    :raises NotProven: something was not.
    """
    if not told.get("checks", {}).get("started"):
        raise NotProven("it has not started")
    for kind, port in told.get("doors", {}).items():
        _ASK[kind](int(port), server)


def _ask_http(port: int, _server: str) -> None:
    _health("http", http.client.HTTPConnection(LOOPBACK, port, timeout=ANSWER_SECONDS))


def _ask_https(port: int, _server: str) -> None:
    # Whose certificate it is does not matter: without a name we get the default one.
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    asking = http.client.HTTPSConnection(LOOPBACK, port, timeout=ANSWER_SECONDS, context=context)
    _health("https", asking)


def _health(kind: str, asking: http.client.HTTPConnection) -> None:
    try:
        asking.request("GET", _HEALTH_PATH)
        answer = asking.getresponse()
        content = json.loads(answer.read(65536))
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise NotProven(f"{kind}: {error}") from error
    finally:
        asking.close()
    if answer.status != 200 or not isinstance(content, dict):
        raise NotProven(f"{kind}: the health page answers {answer.status}")


def _ask_dns(port: int, server: str) -> None:
    question = dns.message.make_query(server, "SOA")
    try:
        answer = dns.query.tcp(question, LOOPBACK, timeout=ANSWER_SECONDS, port=port)
    except (OSError, EOFError, dns.exception.DNSException) as error:
        raise NotProven(f"dns: {str(error) or type(error).__name__}") from error
    if answer.rcode() != dns.rcode.NOERROR or not answer.answer:
        raise NotProven(f"dns: {dns.rcode.to_text(answer.rcode())} for the SOA of {server}")


_ASK: Final[Mapping[str, Callable[[int, str], None]]] = {
    "http": _ask_http,
    "https": _ask_https,
    "dns": _ask_dns,
}
