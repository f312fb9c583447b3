"""When the web bundle counts as current: exactly as long as no source of it changes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from web_bundle import BundleError, WebBundle


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A source tree whose node_modules are as wanted and whose `npm run build` copies a file."""
    modules = tmp_path / "web" / "node_modules"
    modules.mkdir(parents=True)
    (tmp_path / "src" / "watchducks" / "console").mkdir(parents=True)
    (tmp_path / "web" / "duck.ts").write_text("quack()")
    (tmp_path / "web" / "package-lock.json").write_text("{}")
    (modules / ".package-lock.json").write_text("{}")
    script = (
        "mkdir -p ../src/watchducks/console/static && cp duck.ts ../src/watchducks/console/static"
    )
    (tmp_path / "web" / "package.json").write_text(f'{{"scripts": {{"build": "{script}"}}}}')
    return tmp_path


def test_bundle_is_current_once_built(tree: Path) -> None:
    bundle = WebBundle(tree)
    assert not bundle.is_current()
    bundle.make_current()
    assert bundle.is_current()
    assert (bundle.static / "duck.ts").read_text() == "quack()"


@pytest.mark.parametrize("name", ["duck.ts", "new.css", "src/deep/new.ts"])
def test_changed_source_makes_it_stale(tree: Path, name: str) -> None:
    bundle = WebBundle(tree)
    bundle.make_current()
    changed = bundle.web / name
    changed.parent.mkdir(parents=True, exist_ok=True)
    changed.write_text("honk()")
    assert not bundle.is_current()
    bundle.make_current()
    assert bundle.is_current()


def test_renamed_source_makes_it_stale(tree: Path) -> None:
    bundle = WebBundle(tree)
    bundle.make_current()
    (bundle.web / "duck.ts").rename(bundle.web / "goose.ts")
    assert not bundle.is_current()


@pytest.mark.parametrize("name", ["node_modules/duck/index.js", "dist/a.js", "x.tsbuildinfo"])
def test_built_files_and_times_do_not(tree: Path, name: str) -> None:
    bundle = WebBundle(tree)
    bundle.make_current()
    built = bundle.web / name
    built.parent.mkdir(parents=True, exist_ok=True)
    built.write_text("honk()")
    os.utime(bundle.web / "duck.ts")
    assert bundle.is_current()


def test_current_bundle_is_left_alone(tree: Path) -> None:
    bundle = WebBundle(tree)
    bundle.make_current()
    (bundle.static / "duck.ts").write_text("honk()")
    bundle.make_current()
    assert (bundle.static / "duck.ts").read_text() == "honk()"


def test_failed_build_is_told_and_leaves_it_stale(tree: Path) -> None:
    (tree / "web" / "duck.ts").unlink()
    bundle = WebBundle(tree)
    with pytest.raises(BundleError, match="npm run build failed"):
        bundle.make_current()
    assert not bundle.is_current()


def test_neither_bundle_nor_sources_is_told(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no sources in"):
        WebBundle(tmp_path).make_current()
