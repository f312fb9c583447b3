"""WatchDucks: traffic analytics for a web site, by changing nothing but its name servers.

Start at :mod:`watchducks.appliance`, where the parts are put together; docs/architecture.md
walks each flow down the folders.
"""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("watchducks")
except PackageNotFoundError:  # running from a tree that was never installed
    __version__ = "0+unknown"
