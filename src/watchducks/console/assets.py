"""Assets: the web bundle (made by Vite from web/), read once, served from memory.

Their names hold a hash of their content, so browsers keep them for ever; a new version has new
names.
"""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Final

from twisted.logger import Logger
from twisted.web.http import Request
from twisted.web.resource import Resource
from werkzeug.exceptions import MethodNotAllowed

from watchducks.console.answers import Answer, Answers, not_found
from watchducks.console.headers import accepts_gzip

PREFIX: Final = "/static/"
_IMMUTABLE: Final = "public, max-age=31536000, immutable"
_CONTENT_TYPES: Final = {
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
    "woff2": "font/woff2",
}
_MANIFEST: Final = "manifest.json"

_log = Logger(namespace="watchducks.console")


@dataclass(frozen=True, slots=True)
class File:
    """One file of the bundle, as it is and compressed."""

    content_type: str
    plain: bytes
    compressed: bytes


class Bundle:
    """The files of the bundle, and their names.

    Without a bundle (a tree in which it was not built) the pages work without style and script.

    :param directory: where Vite wrote the bundle, with its manifest.
    """

    def __init__(self, directory: Traversable | None = None) -> None:
        self._files: dict[str, File] = {}
        self._names: dict[str, str] = {}
        directory = directory or files("watchducks.console") / "static"
        manifest = directory / _MANIFEST
        if not manifest.is_file():
            _log.warn("the web bundle is not built: pages have neither style nor charts")
            return
        for source, entry in json.loads(manifest.read_text("utf-8")).items():
            for name in (entry["file"], *entry.get("css", ()), *entry.get("assets", ())):
                self._read(directory, name)
            self._names[source] = entry["file"]
            for style in entry.get("css", ()):
                self._names[source.rpartition(".")[0] + ".css"] = style

    def _read(self, directory: Traversable, name: str) -> None:
        content_type = _CONTENT_TYPES.get(name.rpartition(".")[2])
        if content_type is None:
            return
        plain = (directory / name).read_bytes()
        self._files[name] = File(content_type, plain, gzip.compress(plain, 9, mtime=0))

    def url(self, source: str) -> str | None:
        """Return the address of what was built from ``source``, or None without a bundle."""
        name = self._names.get(source)
        return PREFIX + name if name else None

    def file(self, name: str) -> File | None:
        """Return the file that was built as ``name``."""
        return self._files.get(name)


class Assets(Resource):
    """Serves the files of the bundle."""

    isLeaf = True

    def __init__(self, bundle: Bundle, answers: Answers) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._bundle = bundle
        self._answers = answers

    def render(self, request: Request) -> int:
        """Serve one file."""
        if request.method not in (b"GET", b"HEAD"):
            return self._answers.deliver(request, MethodNotAllowed(valid_methods=["GET", "HEAD"]))
        found = self._bundle.file(request.path.decode("latin-1").removeprefix(PREFIX))
        if found is None:
            return self._answers.deliver(request, not_found())
        headers = {"Cache-Control": _IMMUTABLE, "Vary": "Accept-Encoding"}
        body = found.plain
        if accepts_gzip(request):
            body, headers["Content-Encoding"] = found.compressed, "gzip"
        return self._answers.deliver(
            request, Answer(body, found.content_type, 200, headers, compress=False)
        )
