"""For every test: what takes long goes first, and what shares expensive fixtures stays on one worker.

`make test` uses several workers (pytest-xdist, ``--dist loadgroup``). A module is one group, since its tests share
fixtures. The browser tests of one mux are one group together, and so is everything that uses the one Docker engine:
some tests end it to see what follows. Groups are handed out in the order of the tests: the longest must not come last.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from _pytest.nodeid import NodeId
from hypothesis import HealthCheck, settings

from tests.docker_engine import docker_engine

__all__ = ["docker_engine"]  # a fixture for every test

TESTS = Path(__file__).parent
DOCKER = "docker"
DOCKER_S_MAX = 300
"""Bound of one test on Docker: the first one starts the engine and makes an image."""
LONGEST_FIRST = ("e2e", "conformance", "web", "providers", "ship_agent", "images")


if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # Started in the background of a shell: what tests start and interrupt would ignore it too.
    signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes says something of the machine alone. Without this, one that waits 200 ms for the processor,
# or is slow to be made, fails its test.
settings.register_profile("loaded", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("loaded")


@pytest.fixture(autouse=True)
def _umask() -> Iterator[None]:
    """Programs that run in this process may tighten it; the next test is not theirs."""
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.fixture(autouse=True)
def _logging() -> Iterator[None]:
    """Commands that run in this process may send its log to a stream of theirs, which ends with them."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)
    structlog.contextvars.clear_contextvars()


def _group(item: pytest.Item) -> str:
    if isinstance(item, pytest.Function):
        parameters = item.callspec.params.values() if hasattr(item, "callspec") else ()
        if "docker_engine" in item.fixturenames or DOCKER in parameters:
            return DOCKER
    return str(item.path.relative_to(TESTS))


def _turn(item: pytest.Item) -> int:
    part = item.path.relative_to(TESTS).parts[0]
    return LONGEST_FIRST.index(part) if part in LONGEST_FIRST else len(LONGEST_FIRST)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Order and group the tests."""
    items.sort(key=_turn)
    for item in items:
        group = _group(item)
        if group == DOCKER:
            item.add_marker(pytest.mark.docker)
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(DOCKER_S_MAX))
        if (own := item.get_closest_marker("xdist_group")) is not None:
            group = str(own.args[0])
        if config.getoption("loadgroup", default=False):
            # pytest-xdist 3.8 writes the group into `_nodeid`, which pytest 9.2 does not read any more. Without this,
            # tests of one group run on any worker, and nothing says so.
            item._id = NodeId.parse(f"{item.nodeid}@{group}")
