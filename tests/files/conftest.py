"""Moto's server for what is kept in S3."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="package")
def moto_server() -> Iterator[str]:
    """Its address."""
    from moto.server import ThreadedMotoServer  # only where it is used: its import takes a second

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()
