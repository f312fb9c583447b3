"""`watchducks backup` and `watchducks restore`: what an appliance cannot make anew.

One gzipped tar archive, for its owner only: the registry as lines of JSON (whatever database it
lies in), the key that opens what is sealed in it, the certificates and the secret of DNS cookies.
The log store is left out: it has tools of its own, and is far larger (docs/operations.md).
"""

from __future__ import annotations

import argparse
import io
import json
import os
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from watchducks import __version__
from watchducks import settings as settings_module
from watchducks.cli.common import CommandError, Parents
from watchducks.demo.command import say
from watchducks.settings import Settings

if TYPE_CHECKING:
    from watchducks.cli.common import Commands

FORMAT: Final = 1
_ABOUT: Final = "watchducks-backup.json"
_REGISTRY: Final = "registry.jsonl"
_KEY: Final = "registry.key"
# Of data_dir: folders whose files are taken as they are.
_FOLDERS: Final = ("certificates", "nameserver")
# 100,000 sites with their zones are 0.5 GB; an archive that claims more is not one of ours.
MAX_OCTETS: Final = 4 * 1024**3


def add(commands: Commands, parents: Parents) -> None:
    backup = commands.add_parser(
        "backup",
        parents=[parents.configured],
        help="write registry, key and certificates to an archive",
        description="Write what the appliance cannot make anew to a gzipped tar archive, for its"
        " owner only: the registry, the key of what is sealed in it, and the certificates. The"
        " appliance may run. The log store has tools of its own.",
    )
    backup.add_argument("file", type=Path, metavar="FILE", help="which must not be there yet")
    backup.set_defaults(run=_backup)
    restore = commands.add_parser(
        "restore",
        parents=[parents.configured],
        help="read such an archive into an empty registry",
        description="Read an archive of `watchducks backup` into the registry of the configuration,"
        " which may be another database, and has to be empty. Stop the appliance before.",
    )
    restore.add_argument("file", type=Path, metavar="FILE")
    restore.set_defaults(run=_restore)


async def _backup(reactor: Any, options: argparse.Namespace) -> int:
    from watchducks.appliance.sites import open_registry  # noqa: PLC0415 -- loads the database's part

    settings = settings_module.find(options.config)
    async with open_registry(settings, reactor) as registry:
        lines = await registry.dump()
    try:
        descriptor = os.open(options.file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with (
            os.fdopen(descriptor, "wb") as file,
            tarfile.open(fileobj=file, mode="w:gz") as archive,
        ):
            about = {"format": FORMAT, "version": __version__, "node": settings.node.name}
            _put(archive, _ABOUT, json.dumps(about).encode())
            _put(archive, _REGISTRY, "\n".join(lines).encode() + b"\n")
            for name, path in _files(settings):
                _put(archive, name, path.read_bytes())
    except OSError as error:
        raise CommandError(f"{options.file}: {error.strerror}") from error
    say(f"{options.file} has {len(lines) - 1} rows of the registry, its key and the certificates.")
    return 0


def _files(settings: Settings) -> Iterator[tuple[str, Path]]:
    """Return what is in the archive as it is on the disk: its name there, and its path here."""
    if settings.key_file.exists():
        yield _KEY, settings.key_file
    for folder in _FOLDERS:
        root = settings.node.data_dir / folder
        for path in sorted(root.rglob("*")):
            if path.is_file() and not path.is_symlink():
                yield f"{folder}/{path.relative_to(root)}", path


def _put(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode, member.mtime = len(content), 0o600, int(time.time())
    archive.addfile(member, io.BytesIO(content))


async def _restore(reactor: Any, options: argparse.Namespace) -> int:
    from watchducks.appliance.sites import open_registry  # noqa: PLC0415 -- loads the database's part
    from watchducks.registry.dump import DumpError  # noqa: PLC0415

    settings = settings_module.find(options.config)
    content = _read(options.file)
    try:
        about = json.loads(content.pop(_ABOUT))
        lines = content.pop(_REGISTRY).decode().splitlines()
    except (KeyError, ValueError):
        raise CommandError(f"{options.file} is not a backup of ours") from None
    if about.get("format") != FORMAT:
        raise CommandError(f"{options.file} is of format {about.get('format')}, not {FORMAT}")
    targets = {name: _target(settings, name) for name in content}
    there = next((path for path in targets.values() if path.exists()), None)
    if there is not None:
        raise CommandError(f"{there} is there already: nothing is written over")
    async with open_registry(settings, reactor) as registry:
        try:
            rows = await registry.load(lines)
        except DumpError as error:
            raise CommandError(f"{options.file}: {error}") from error
    try:
        for name, path in targets.items():
            _write(path, content[name], like=settings.node.data_dir)
    except OSError as error:
        raise CommandError(f"{error.filename}: {error.strerror}") from error
    say(f"{rows} rows and {len(targets)} files of {about.get('node')} are restored.")
    return 0


def _read(path: Path) -> dict[str, bytes]:
    """Return the archive's files by name. :raises CommandError: it cannot be read."""
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(path, "r:gz") as archive:
            size = 0
            for member in archive:
                size += member.size
                if size > MAX_OCTETS:
                    raise CommandError(f"{path} is larger than a backup of ours")
                file = archive.extractfile(member)
                if file is not None:
                    found[member.name] = file.read()
    except (OSError, EOFError, tarfile.TarError) as error:
        raise CommandError(f"{path} cannot be read: {error}") from error
    return found


def _target(settings: Settings, name: str) -> Path:
    """Return where a file of the archive belongs. :raises CommandError: nowhere."""
    parts = Path(name).parts
    if name == _KEY:
        return settings.key_file
    if len(parts) < 2 or parts[0] not in _FOLDERS or ".." in parts:
        raise CommandError(f"the archive has a file that is none of ours: {name}")
    return settings.node.data_dir.joinpath(*parts)


def _write(path: Path, content: bytes, *, like: Path) -> None:
    """Write a file of the owner of ``like``, who is not always who restores it."""
    owner = like.stat()
    made = [folder for folder in path.parents if not folder.exists()]
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
    if os.geteuid() == 0:
        for one in (path, *made):
            os.chown(one, owner.st_uid, owner.st_gid)
