"""Tells twistd that there is a `watchducks` command; everything else is in watchducks.tap."""

from twisted.application.service import ServiceMaker

service_maker = ServiceMaker(
    "WatchDucks",
    "watchducks.tap",
    "Traffic analytics by reverse proxy and authoritative DNS.",
    "watchducks",
)
