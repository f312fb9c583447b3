"""What this host lacks for these settings, short of keeping the appliance from starting.

Used by ``watchducks check``. It changes nothing, and it blocks: never call it on a reactor. Each
line says what to do next.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import re
import resource
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import dns.exception
import dns.resolver

from watchducks.instances import CONTROL_FILE
from watchducks.preflight import silent_servers
from watchducks.settings import Settings

# Two descriptors for each of 30,000 visitors, and the rest.
DESCRIPTORS: Final = 65_536
# chDB takes up to 830 MiB under load (docs/architecture.md), the appliance 200.
CHDB_MIB: Final = 1_100
OWN_MIB: Final = 300
# A recursive resolver that takes longer is of no use for looks at delegations either.
ANSWER_SECONDS: Final = 2.0
# adjtimex(2): the clock is not synchronised.
_TIME_ERROR: Final = 5
_TIMEX_OCTETS: Final = 512  # the structure has 208; the kernel writes no more
_ENDPOINT: Final = re.compile(r"(tcp6?|udp):(?:port=)?(\d{1,5})(?::.*?interface=([^:]+))?.*")


def hints(settings: Settings) -> list[str]:
    """Return one line for each thing that is not as it should be; empty: none."""
    return [
        *_ports(settings),
        *_descriptors(),
        *_clock(),
        *_memory(settings),
        *_names(settings),
        *_log_servers(settings),
    ]


def _log_servers(settings: Settings) -> Iterator[str]:
    if settings.logs.cluster:
        for line in silent_servers(settings.logs.url):
            yield f"logs.url: {line}; the other servers do its work meanwhile"


def _ports(settings: Settings) -> Iterator[str]:
    if _runs(settings.node.data_dir):
        return  # they are its own
    roles = settings.node.roles
    for role, key, endpoints in (
        ("proxy", "proxy.http", settings.proxy.http),
        ("proxy", "proxy.https", settings.proxy.https),
        ("nameserver", "nameserver.listen", settings.nameserver.listen),
        ("console", "console.http", settings.console.http),
    ):
        for text in endpoints if role in roles else ():
            match = _ENDPOINT.fullmatch(text)
            if match is not None:
                why = _bindable(match[1], int(match[2]), match[3] or "")
                if why:
                    yield f"{key}: {text}: {why}"


def _runs(data_dir: Path) -> bool:
    """Whether an appliance on these data runs already."""
    for path in (data_dir / "run").glob(f"**/{CONTROL_FILE}"):
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as asking:
            folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                asking.connect(f"/proc/self/fd/{folder}/{path.name}")
            finally:
                os.close(folder)
            return True
    return False


def _bindable(kind: str, port: int, interface: str) -> str:
    """Return why a port cannot be had; "": it can."""
    type_ = socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM
    family = socket.AF_INET6 if kind == "tcp6" or ":" in interface else socket.AF_INET
    with socket.socket(family, type_) as trial:
        if type_ == socket.SOCK_STREAM:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((interface, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return f"another program has the port: ss -lntup 'sport = :{port}' says which"
            if error.errno == errno.EACCES:
                return (
                    "ports below 1024 are root's: use the sockets of systemd/ (systemd:http ...),"
                    " or give the service CAP_NET_BIND_SERVICE"
                )
            return f"cannot be bound: {error.strerror}; is the address this host's?"
    return ""


def _descriptors() -> Iterator[str]:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < DESCRIPTORS:
        yield (
            f"{hard} open files are allowed, and {DESCRIPTORS} are wanted for busy hours:"
            " ulimit -n, or LimitNOFILE= of the service"
        )


def _clock() -> Iterator[str]:
    """DNSSEC's signatures, certificates and every chart rely on it."""
    state = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(_TIMEX_OCTETS))
    if state == _TIME_ERROR:
        yield (
            "the clock is not synchronised: timedatectl set-ntp true, or a time service of your"
            " own (a virtual machine may get the time from its host instead)"
        )


def _memory(settings: Settings) -> Iterator[str]:
    wanted = OWN_MIB + (CHDB_MIB if settings.logs.url.startswith("chdb:") else 0)
    match = re.search(r"^MemAvailable:\s+(\d+) kB", _text(Path("/proc/meminfo")), re.MULTILINE)
    if match and int(match[1]) // 1024 < wanted:
        yield (
            f"{int(match[1]) // 1024} MiB of memory are free, and {wanted} are wanted: more memory,"
            " or a ClickHouse server on another host (logs.url)"
        )


def _names(settings: Settings) -> Iterator[str]:
    """Whether recursive resolvers answer, and whether they find our name servers."""
    resolver = dns.resolver.Resolver(configure=not settings.node.resolvers)
    resolver.lifetime = resolver.timeout = ANSWER_SECONDS
    if settings.node.resolvers:
        resolver.nameservers = [str(address) for address, _ in settings.node.resolvers]
        resolver.nameserver_ports = {str(at): port for at, port in settings.node.resolvers}
    try:
        resolver.resolve(".", "NS")
    except (dns.exception.DNSException, OSError) as error:
        yield (
            f"node.resolvers: no recursive resolver answers well ({_brief(error)}): without one no"
            " delegation is seen and no zone is imported"
        )
        return
    expected = {str(address) for address in settings.nameserver.addresses}
    for name in settings.nameserver.names:
        found = _addresses(resolver, name)
        if not found:
            yield (
                f"nameserver.names: {name} has no address in the public DNS: ask its registrar for"
                " a host (glue) record with this server's address"
            )
        elif expected and not found & expected:
            yield (
                f"nameserver.names: {name} is {', '.join(sorted(found))} in the public DNS, and"
                " none of nameserver.addresses: correct the one or the other"
            )


def _addresses(resolver: dns.resolver.Resolver, name: str) -> set[str]:
    found: set[str] = set()
    for kind in ("A", "AAAA"):
        with contextlib.suppress(dns.exception.DNSException, OSError):
            found |= {item.to_text() for item in resolver.resolve(name, kind)}
    return found


def _brief(error: Exception) -> str:
    return type(error).__name__ if isinstance(error, dns.exception.DNSException) else str(error)


def _text(path: Path) -> str:
    with contextlib.suppress(OSError):
        return path.read_text()
    return ""
