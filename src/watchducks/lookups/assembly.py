"""What the settings make of the parts of this package."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from watchducks.lookups.client import Client
from watchducks.lookups.resolver import Resolver, find_resolvers
from watchducks.lookups.scan import Scanner
from watchducks.lookups.servers import Directory
from watchducks.settings import Settings


@dataclass(frozen=True, slots=True)
class Lookups:
    """Everything that asks the public DNS; one for a process, which shares its limits."""

    client: Client
    resolver: Resolver
    directory: Directory
    scanner: Scanner


def open_lookups(settings: Settings, *, reactor: Any) -> Lookups:
    """Return what asks as ``settings`` say. Reads /etc/resolv.conf, so it is for the start."""
    client = Client(reactor=reactor, allow_private=settings.security.allow_private_origins)
    resolver = Resolver(find_resolvers(settings.node.resolvers), client)
    directory = Directory(resolver, client, clock=reactor)
    scanner = Scanner(directory, client, own_names=settings.nameserver.names, clock=reactor)
    return Lookups(client, resolver, directory, scanner)
