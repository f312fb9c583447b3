"""Tells twistd that there are a `watchducks` command, which is in watchducks.tap, and a reactor."""

from twisted.application.reactors import Reactor
from twisted.application.service import ServiceMaker

service_maker = ServiceMaker(
    "WatchDucks",
    "watchducks.tap",
    "Traffic analytics by reverse proxy and authoritative DNS.",
    "watchducks",
)

reactor_installer = Reactor(
    "watchducks", "watchducks.reactor", "epoll with a fast path for connected streams"
)
