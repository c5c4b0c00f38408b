"""The images of this repository, built once by the tests' own Docker engine."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.docker_engine import ROOT, Engine

BUILD_S_MAX = 600
"""The first time: Debian's root, the packages, three images, on a machine that runs other tests."""


@pytest.fixture(scope="session")
def built(docker_engine: Engine) -> Engine:
    """The engine, with mux/base and the examples in it."""
    return build(docker_engine)


def build(engine: Engine, *directories: Path) -> Engine:
    """Have images of this repository in an engine; without ``directories`` mux/base and the examples."""
    done = subprocess.run(
        ["tools/images", "--no-pull", *(str(each.relative_to(ROOT)) for each in directories)],
        cwd=ROOT,
        env=os.environ | {"DOCKER_HOST": engine.host},
        capture_output=True,
        text=True,
        timeout=BUILD_S_MAX,
        check=False,
    )
    assert done.returncode == 0, f"tools/images: {done.stderr[-4000:]}"
    return engine
