"""What every test has: the real servers, time limits that hold, and Hypothesis's settings."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

pytest_plugins = ["tests.limits", "tests.servers.fixtures"]

# No deadline for one example: on two shared cores it would measure the neighbours. The time limit
# of the whole test stays. Not derandomized: each run may find what the last one did not.
_patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("dev", _patient, max_examples=50)
# Twice as many where nobody waits at the terminal, and still within the minute a test has.
settings.register_profile("ci", _patient, max_examples=100, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "dev")
