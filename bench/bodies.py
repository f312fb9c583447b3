"""2 GiB through the proxy, each way, to a slower reader: ``bodies.py [GIB]``.

Says how long it took, what the proxy held before, and the most that it held meanwhile; exits with 1
if that was more than it may be.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Final

_ROOT: Final = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(_ROOT), str(_ROOT / "src")]

from tests.wire.measured import MIB, download, upload  # noqa: E402 - found by the path above

# What a streaming proxy holds of one body: its own buffers (64 KiB a side and a read), with room
# for the allocator. Kernel buffers are not in it.
_FLAT_BYTES: Final = 16 * MIB


def main(arguments: list[str]) -> int:
    """Carry the bodies; return the exit code."""
    gibibytes = float(arguments[0]) if arguments else 2.0
    failed = 0
    for name, carry in (("download", download), ("upload", upload)):
        began = time.monotonic()
        before, peak = carry(int(gibibytes * 1024 * MIB))
        took = time.monotonic() - began
        flat = peak - before < _FLAT_BYTES
        failed += not flat
        sys.stdout.write(
            f"{name} of {gibibytes:g} GiB in {took:.0f} s: {before / MIB:.1f} MiB resident before,"
            f" {peak / MIB:.1f} MiB at most, {'flat' if flat else 'NOT FLAT'}\n"
        )
        sys.stdout.flush()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
