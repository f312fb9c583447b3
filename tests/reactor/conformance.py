"""Runs Twisted's own suite for reactors over one reactor: a program, not a test module.

``python -m tests.reactor.conformance CLASS`` ends its standard output with one JSON object: for
each test that Twisted generates for a reactor, what became of it. It is a process of its own
because those tests replace the global reactor and its signal handlers.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from importlib import import_module
from typing import Final

from twisted.internet.test.reactormixins import ReactorBuilder
from twisted.trial.reporter import TestResult
from twisted.trial.unittest import TestSuite

STOCK: Final = "twisted.internet.epollreactor.EPollReactor"
OURS: Final = "watchducks.reactor.FastEPollReactor"

MODULES: Final = (
    "core",
    "fdset",
    "newtls",
    "process",
    "socket",
    "stdio",
    "tcp",
    "threads",
    "time",
    "tls",
    "udp",
    "unix",
)

# It replaces a descriptor behind the reactor's back, which epoll cannot notice: the test skips
# itself for the stock reactor, which it knows by its class's name, and waits two minutes for ours.
NOT_FOR_EPOLL: Final = {"fdset.ReactorFDSetTestsBuilder.test_lostFileDescriptor"}


def outcomes(reactor: str) -> dict[str, str]:
    """Run the suite over the class named ``reactor``; return {test: what became of it}."""
    # The modules make their test cases from this list while they are imported.
    ReactorBuilder._reactors = [reactor]
    result = TestResult()
    suffix = "_" + reactor.rsplit(".", 1)[-1] + "Tests"
    suite = TestSuite()
    names = {}
    for module in MODULES:
        for name, value in vars(import_module(f"twisted.internet.test.test_{module}")).items():
            if not name.endswith(suffix):
                continue
            for method in dir(value):
                if not method.startswith("test"):
                    continue
                test = f"{module}.{name.removesuffix(suffix)}.{method}"
                if test not in NOT_FOR_EPOLL:
                    case = value(method)
                    names[case.id()] = test
                    suite.addTest(case)
    with tempfile.TemporaryDirectory() as directory:
        os.chdir(directory)  # the tests leave files
        suite.run(result)
        os.chdir("/")
    became = dict.fromkeys(names, "passed")
    became |= {case.id(): f"skipped: {reason}" for case, reason in result.skips}
    became |= {case.id(): "failed as expected" for case, *_ in result.expectedFailures}
    # Last, and beside the text for a reader: a test may be skipped and fail to clean up.
    for case, failure in [*result.failures, *result.errors]:
        became[case.id()] = "failed"
        print(f"{case.id()}\n{failure}", file=sys.stderr)
    return {names[test]: what for test, what in became.items()}


if __name__ == "__main__":
    print(f"\n{json.dumps(outcomes(sys.argv[1]))}")
