"""A pytest plugin for jupyter_server's own test suite: sends its requests through a proxy.

It runs inside the suite's pytest, not inside ours, so it imports nothing of mux. The suite starts a fresh server for
each test on a port of the system's choice; here every server listens on ``--upstream-port`` instead, where the proxy's
only route leads, and every client is told ``--proxy-port``. Without the two options the suite runs as it is.

Only tests that use the network are kept: those in whose fixtures the suite's HTTP server is. ``--outcomes FILE`` gets
one JSON object: test to ``passed``, ``failed`` or ``skipped``.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_jupyter.pytest_tornasync import AsyncHTTPServerClient
from tornado.netutil import bind_sockets

BADNESS = ("skipped", "passed", "failed")
"""A test's outcome is the worst of its phases; a test that passed and was skipped nowhere has passed."""

outcomes: dict[str, str] = {}


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("through a proxy")
    group.addoption("--upstream-port", type=int, default=0, help="where the suite's servers listen")
    group.addoption("--proxy-port", type=int, default=0, help="where the suite's clients connect")
    group.addoption("--outcomes", type=Path, help="file for the outcome of each test")


class ThroughProxy:
    """The two ends of the suite, moved apart."""

    def __init__(self, upstream_port: int, proxy_port: int) -> None:
        self.upstream_port = upstream_port
        self.proxy_port = proxy_port
        AsyncHTTPServerClient.get_http_port = lambda _client: proxy_port  # type: ignore[method-assign]

    @pytest.fixture
    def http_server_port(self) -> Iterator[tuple[socket.socket, int]]:
        """The server's socket, and the port that clients are told."""
        bound = bind_sockets(self.upstream_port, "127.0.0.1", socket.AF_INET)[0]
        yield bound, self.proxy_port
        bound.close()


def pytest_configure(config: pytest.Config) -> None:
    upstream_port, proxy_port = config.getoption("--upstream-port"), config.getoption("--proxy-port")
    if proxy_port:
        # Registered now, after the suite's own plugins, so that this fixture goes before theirs.
        config.pluginmanager.register(ThroughProxy(upstream_port, proxy_port), "through-proxy")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    networked = [item for item in items if "http_server" in getattr(item, "fixturenames", ())]
    config.hook.pytest_deselected(items=[item for item in items if item not in set(networked)])
    items[:] = networked


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    before = outcomes.get(report.nodeid, "skipped")
    phase = "skipped" if report.when != "call" and report.outcome == "passed" else report.outcome
    outcomes[report.nodeid] = max(before, phase, key=BADNESS.index)


def pytest_sessionfinish(session: pytest.Session) -> None:
    path = session.config.getoption("--outcomes")
    if path is not None:
        path.write_text(json.dumps(outcomes, indent=1, sort_keys=True), encoding="utf-8")
