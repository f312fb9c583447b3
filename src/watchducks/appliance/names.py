"""What looks up the host names that sites need, as a part."""

from __future__ import annotations

from functools import partial

from watchducks.appliance.house import House
from watchducks.lookups.names import HostNames
from watchducks.model.origins import usable
from watchducks.registry.feed import SiteFeed


async def start_the_names(house: House, feed: SiteFeed) -> HostNames:
    """Let :attr:`House.names` follow the registry, ahead of whoever needs addresses."""
    settings = house.settings
    names = house.names = HostNames(
        house.lookups().resolver,
        usable=partial(
            usable,
            own_addresses=settings.own_addresses,
            allow_private=settings.security.allow_private_origins,
        ),
        state_dir=settings.node.data_dir / "state",
        pool=await house.pool("names"),
        clock=house.reactor,
    )
    await house.run("the host names that sites need", names)
    await feed.follow(names.apply)
    return names
