"""Moto's server for what is kept in S3."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fakes.s3 import moto_running


@pytest.fixture(scope="package")
def moto_server() -> Iterator[str]:
    """Its address."""
    with moto_running() as address:
        yield address
