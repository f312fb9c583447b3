"""The ``watchducks`` command: the sysadmin's and the owner's tool.

It goes through the JSON API, as any other client does, or, for what the API does not offer, through
the registry; never round them. Exit codes: 0 done, 1 not done (one line on stderr says why), 2 the
command itself was wrong.

A module a group of commands; each has ``add(commands, parents)``, which adds its parsers, and each
parser names what runs it: ``run``, ``async (reactor, options) -> exit code``, or ``at_once``,
``(options) -> exit code``, for what blocks and needs no reactor. ``command`` puts them together.
"""

from watchducks.cli.command import main

__all__ = ["main"]
