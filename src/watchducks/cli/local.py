"""Asking the instances on this host how they are, by their control sockets; without a reactor."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any, Final

from watchducks.instances import CONTROL_FILE

# It answers from memory. A reactor that is this late is not well.
ANSWER_SECONDS: Final = 5.0
# A status is some kilobytes; a hundred proxies in its measures make it a hundred.
MAX_OCTETS: Final = 4 * 1024 * 1024


def control_files(data_dir: Path) -> list[Path]:
    """Return where instances tell how they are, or told it before they died."""
    run = data_dir / "run"
    return sorted([*run.glob(CONTROL_FILE), *run.glob(f"*/{CONTROL_FILE}")])


def ask(path: Path) -> dict[str, Any]:
    """Return what the instance behind ``path`` says of itself.

    :raises OSError: nobody is there, or it does not answer (PermissionError: only its own user and
        root may ask).
    """
    # By way of the folder's descriptor, because an address holds 107 octets.
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
            asking.settimeout(ANSWER_SECONDS)
            asking.connect(f"/proc/self/fd/{folder}/{path.name}")
            content = b""
            while piece := asking.recv(65536):
                content += piece
                if len(content) > MAX_OCTETS:
                    raise OSError(f"{path} does not stop talking")
    finally:
        os.close(folder)
    try:
        told = json.loads(content)
    except ValueError:
        raise OSError(f"{path} broke off") from None
    if not isinstance(told, dict):
        raise OSError(f"{path} is not one of ours")
    return told
