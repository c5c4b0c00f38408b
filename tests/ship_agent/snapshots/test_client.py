"""What a ship makes of answers that are none, on its way to the mux's files."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from ship_agent.snapshots.client import FilesClient, FilesError

CHUNK = "0" * 64
ADDRESS = "ftp://127.0.0.1/chunk?X-Amz-Signature=a-secret"


@pytest.fixture
async def client() -> AsyncIterator[FilesClient]:
    """Of a mux that leads to an address that no chunk can be at."""

    async def elsewhere(_: web.Request) -> web.Response:
        return web.Response(status=307, headers={"Location": ADDRESS})

    app = web.Application()
    app.router.add_get("/{path:.*}", elsewhere)
    async with TestServer(app) as server:
        client = FilesClient("wss://mux.example/control", ssl.create_default_context())
        client._base = str(server.make_url("/ship/files"))  # without TLS
        client.use("a-token")
        yield client
        await client.close()


async def test_an_address_that_is_none_is_tried_again_and_not_quoted(client: FilesClient) -> None:
    with pytest.raises(FilesError) as raised:
        await client.chunk("w-1", CHUNK)
    assert raised.value.retryable
    assert "is none" in str(raised.value)
    assert "a-secret" not in repr((raised.value, raised.value.__cause__))
