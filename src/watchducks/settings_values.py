"""What each key of the configuration accepts: TOML value -> our value, or ValueError.

The text of the ValueError completes the sentence "accepted is ...".
"""

from __future__ import annotations

import base64
import ipaddress
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from twisted.internet.endpoints import serverFromString

from watchducks.model.log_servers import EXAMPLE, SCHEME, parse_log_servers
from watchducks.model.names import normalise_email, normalise_host
from watchducks.model.origins import Address, address_and_port
from watchducks.model.problems import Problem
from watchducks.sockets import is_systemd

Check = Callable[[Any], Any]
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

DNS_PORT = 53
# More than any machine that this is for has cores; each costs some 60 MB.
MAX_WORKERS = 64
_TRANSFER_KEY = re.compile(
    r"(?:hmac-sha(?:256|384|512):)?[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63}){0,3}\.?"
    r":(?P<secret>[A-Za-z0-9+/=]{4,344})"
)


def text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise ValueError("a text that is not empty")
    return value


def text_or_none(value: Any) -> str:
    return "" if value == "" else text(value)


def node_name(value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", value):
        raise ValueError("1 to 63 letters, digits, '.', '_' and '-' (it is part of file names)")
    return value


def server_identity(value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[!-~]{0,63}", value):
        raise ValueError("at most 63 printable ASCII characters, no spaces")
    return value


def path(value: Any) -> Path:
    return Path(text(value)).expanduser().absolute()


def path_or_default(value: Any) -> Path | None:
    return None if value == "" else path(value)


def flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("true or false")
    return value


def whole(low: int, high: int) -> Check:
    def check(value: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise ValueError(f"a whole number from {low} to {high}")
        return value

    return check


def workers(value: Any) -> int:
    """0: no processes of their own; "auto": one for each core that we may use."""
    if value == "auto":
        return min(len(os.sched_getaffinity(0)), MAX_WORKERS)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_WORKERS:
        raise ValueError(f'a whole number from 0 to {MAX_WORKERS}, or "auto" for one a core')
    return value


def seconds(low: float, high: float) -> Check:
    def check(value: Any) -> float:
        if (
            not isinstance(value, int | float)
            or isinstance(value, bool)
            or not low <= value <= high
        ):
            raise ValueError(f"seconds from {low:g} to {high:g}")
        return float(value)

    return check


def number(low: float, high: float) -> Check:
    def check(value: Any) -> float:
        if (
            not isinstance(value, int | float)
            or isinstance(value, bool)
            or not low <= value <= high
        ):
            raise ValueError(f"a number from {low:g} to {high:g}")
        return float(value)

    return check


def one_of(*choices: str) -> Check:
    def check(value: Any) -> str:
        if value not in choices:
            raise ValueError("one of " + ", ".join(f'"{choice}"' for choice in choices))
        return str(value)

    return check


def list_of(check: Check) -> Check:
    def check_all(value: Any) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise ValueError("a list")
        return tuple(check(item) for item in value)

    return check_all


def some(check: Check, what: str) -> Check:
    def check_some(value: Any) -> Any:
        result = check(value)
        if not result or len(set(result)) != len(result):
            raise ValueError(f"{what}, at least one and none twice")
        return result

    return check_some


def only(default: object, why: str) -> Check:
    """A key of the contract whose other values need what this version does not have."""

    def check(value: Any) -> Any:
        if value != default or isinstance(value, bool) != isinstance(default, bool):
            raise ValueError(f"only {default!r} in this version ({why})")
        return tuple(value) if isinstance(value, list) else value

    return check


def address(value: Any) -> Address:
    try:
        return ipaddress.ip_address(text(value))
    except ValueError:
        raise ValueError("IP addresses, such as 203.0.113.10 or 2001:db8::10") from None


def resolver(value: Any) -> tuple[Address, int]:
    try:
        address, port = address_and_port(text(value))
    except ValueError:
        raise ValueError(
            "addresses of recursive resolvers, such as 192.0.2.53, 127.0.0.1:5353"
            " or [2001:db8::53]:53"
        ) from None
    return address, port or DNS_PORT


def secondary(value: Any) -> tuple[Address, int]:
    try:
        address, port = address_and_port(text(value))
    except ValueError:
        raise ValueError(
            "addresses of secondary name servers, such as 203.0.113.9, 203.0.113.9:5353"
            " or [2001:db8::9]:53"
        ) from None
    return address, port or DNS_PORT


def transfer_key(value: Any) -> str:
    """A TSIG key, written as for dig's -y; "" for none."""
    if value == "":
        return ""
    match = _TRANSFER_KEY.fullmatch(text(value))
    try:
        if match is None or not base64.b64decode(match["secret"], validate=True):
            raise ValueError
    except ValueError:
        raise ValueError(
            '"" or [ALGORITHM:]NAME:BASE64, with hmac-sha256 (the default), -sha384 or -sha512'
        ) from None
    return match[0]


def directory_url(value: Any) -> str:
    return "" if value == "" else url("https", example="an ACME directory's https URL")(value)


def mac_key(value: Any) -> bytes:
    if value == "":
        return b""
    try:
        return base64.b64decode(
            text(value) + "=" * (-len(value) % 4), altchars=b"-_", validate=True
        )
    except ValueError:
        raise ValueError("base64url, as the certificate authority gave it") from None


def network(value: Any) -> Network:
    try:
        return ipaddress.ip_network(text(value))
    except ValueError:
        raise ValueError(
            "networks and addresses, such as 10.0.0.0/8 (nothing set after its 8 bits),"
            " 203.0.113.4 or 2001:db8::/32"
        ) from None


def host(value: Any) -> str:
    try:
        return normalise_host(text(value))
    except Problem:
        raise ValueError("host names, such as ns1.watchducks.example") from None


def email(value: Any) -> str:
    try:
        return normalise_email(text(value))
    except Problem as problem:
        raise ValueError("an e-mail address, such as hostmaster@watchducks.example") from problem


def stream_endpoint(value: Any) -> str:
    spec = text(value)
    accepted = (
        "Twisted endpoint strings, such as tcp:80, tcp:8080:interface=127.0.0.1, or systemd:NAME"
    )
    if spec.startswith("systemd:"):
        if not is_systemd(spec):
            raise ValueError(accepted)
        return spec
    try:
        # The reactor is only kept by the endpoint, and used when it listens: none is needed here.
        serverFromString(None, spec)
    except Exception as error:  # plug-ins of endpoints raise whatever they like
        raise ValueError(accepted) from error
    if spec.startswith("tcp:"):
        port = spec.split(":")[1].removeprefix("port=")
        if not port.isdigit() or int(port) > 65535:
            raise ValueError(accepted)
    return spec


def visitor_endpoint(value: Any) -> str:
    if re.match(r"unix:|systemd:(.*:)?domain=UNIX\b", text(value)):
        raise ValueError(
            "endpoints on TCP: a visitor's address is needed, and UNIX sockets have none"
        )
    return stream_endpoint(value)


def dns_endpoint(value: Any) -> str:
    spec = text(value)
    if not spec.startswith("udp:"):
        return stream_endpoint(spec)
    match = re.fullmatch(r"udp:(\d{1,5})(?::interface=(.+))?", spec)
    if not match or int(match[1]) > 65535:
        raise ValueError(
            "udp:PORT, udp:PORT:interface=ADDRESS, or a Twisted endpoint string for TCP"
        )
    if match[2]:
        address(match[2].replace("\\:", ":"))
    return spec


def log_store(value: Any) -> str:
    example = "chdb:///var/lib/watchducks/logs or " + EXAMPLE
    if not isinstance(value, str) or not value.startswith(f"{SCHEME}:"):
        return str(url("chdb", example=example)(value))
    try:
        parse_log_servers(value)
    except ValueError:
        raise ValueError(example) from None
    return value


def cluster_name(value: Any) -> str:
    # What can be the name of an element in the server's configuration, which is XML.
    if not isinstance(value, str) or not re.fullmatch(r"(?:[A-Za-z_][A-Za-z0-9_.-]{0,63})?", value):
        raise ValueError("a name of remote_servers in ClickHouse's configuration")
    return value


def url(*schemes: str, example: str) -> Check:
    def check(value: Any) -> str:
        try:
            parts = urlsplit(text(value))
            _ = parts.port
        except ValueError:
            raise ValueError(example) from None
        if parts.scheme not in schemes:
            raise ValueError(example)
        if parts.scheme in ("sqlite", "chdb"):
            if parts.netloc or len(parts.path.strip("/")) == 0:
                raise ValueError(example)
        elif parts.scheme not in ("memory", "outbox") and not parts.hostname:
            raise ValueError(example)
        return str(value)

    return check
