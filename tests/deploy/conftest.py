"""One stack for all tests of the template: it takes seconds to make, and none of them changes it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.deploy.stack import Stack, made_stack


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    with made_stack() as made:
        yield made
