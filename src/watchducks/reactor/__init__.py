"""The reactor of the appliance: Twisted's epoll reactor with a fast path for connected streams.

Installed like any other reactor, before anything imports ``twisted.internet.reactor``: by
:func:`install`, by ``twistd --reactor watchducks``, or by :func:`install_if_none` for a program
that prefers it and leaves the last word to its user.
"""

from __future__ import annotations

import sys

from watchducks.reactor.loop import FastEPollReactor, install

__all__ = ["FastEPollReactor", "install", "install_if_none"]


def install_if_none() -> None:
    """Install ours, unless a reactor is installed already: ``--reactor``, or an importer, chose."""
    if "twisted.internet.reactor" not in sys.modules:
        install()
