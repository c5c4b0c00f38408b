"""What a ship can do with an address that it was given, where S3 looks at signatures as Amazon's does."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import AsyncIterator
from contextlib import nullcontext

import aiohttp
import pytest
from yarl import URL

from mux.core.model import UserId
from mux.files.base import FilesStoreError
from mux.files.s3 import S3Store
from ship_agent.protocol.snapshot import Address
from tests.e2e.harness import free_ports
from tests.fakes.s3 import Gate, gate
from tests.files.places import BUCKET, PREFIX, ROOM, moto_client, s3_place

ANA = UserId("ana")
NOW = 1_800_000_000.0
BLOCK = b"what Ana wrote"
CHUNK, OTHER = hashlib.sha256(BLOCK).hexdigest(), "0" * 64
PACKED = zlib.compress(BLOCK)
SHA = hashlib.sha256(PACKED).hexdigest()


@pytest.fixture
async def strict(moto_server: str) -> AsyncIterator[Gate]:
    """A bucket behind a gate."""
    async with s3_place(moto_server, NOW), gate(moto_server, *free_ports(1)) as made:
        yield made


@pytest.fixture
async def store(strict: Gate) -> AsyncIterator[S3Store]:
    """A store that reaches its bucket through the gate."""
    async with moto_client(strict.url) as client:
        made = S3Store(lambda: nullcontext(client), BUCKET, PREFIX, ROOM, lambda: NOW)
        await made.open()
        yield made


async def send(method: str, url: str, address: Address, content: bytes | None = None) -> int:
    """The status."""
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, URL(url, encoded=True), data=content, headers=address.headers) as answer,
    ):
        return answer.status


async def test_an_address_brings_what_it_was_made_for_once_and_fetches_it(store: S3Store) -> None:
    bring, fetch = await store.sign_put(ANA, CHUNK, len(PACKED), SHA), await store.sign_get(ANA, CHUNK)
    assert await send("GET", fetch.url, fetch) == 404
    assert await send("PUT", bring.url, bring, PACKED) == 200
    assert await send("PUT", bring.url, bring, PACKED) == 412, "used again, it overwrites nothing"
    assert await send("GET", fetch.url, fetch) == 200
    assert await store.chunk(ANA, CHUNK) == BLOCK


@pytest.mark.parametrize(
    ("content", "status"),
    [(PACKED + b"more", 403), (PACKED[:-1], 403), (b"x" * len(PACKED), 400)],
    ids=["longer", "shorter", "another"],
)
async def test_an_address_brings_nothing_else(store: S3Store, content: bytes, status: int) -> None:
    bring = await store.sign_put(ANA, CHUNK, len(PACKED), SHA)
    assert await send("PUT", bring.url, bring, content) == status
    unchecked = bring.model_copy(update={"headers": {}})
    assert await send("PUT", bring.url, unchecked, PACKED) == 403, "what was signed has to be sent"
    with pytest.raises(FilesStoreError):
        await store.chunk(ANA, CHUNK)


async def test_an_address_is_good_for_no_other_key_method_or_time(store: S3Store, strict: Gate) -> None:
    bring, fetch = await store.sign_put(ANA, CHUNK, len(PACKED), SHA), await store.sign_get(ANA, CHUNK)
    await store.put_object(ANA, CHUNK, PACKED)
    for address, content in ((bring, PACKED), (fetch, None)):
        method = "PUT" if content else "GET"
        assert await send(method, address.url.replace(CHUNK, OTHER), address, content) == 403
        assert await send(method, address.url.replace("u-ana", "u-ben"), address, content) == 403
        assert await send(method, address.url.replace("X-Amz-Expires=300", "X-Amz-Expires=3000"), address) == 403
        assert await send("DELETE", address.url, address) == 403
        assert await send(method, address.url.partition("?")[0], address, content) == 403
    assert await send("GET", bring.url, bring) == 403
    assert await send("PUT", fetch.url, fetch, PACKED) == 403
    assert {status for method, _, status in strict.answered if method == "DELETE"} == {403}


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("deny", "S3 says AccessDenied; the mux's credentials may not do this in that bucket"),
        ("skewed", "S3 says RequestTimeTooSkewed; the clock of the mux's machine is wrong; set it"),
    ],
)
async def test_what_s3_refuses_is_told_in_a_sentence_that_names_no_address(
    store: S3Store, strict: Gate, fault: str, says: str
) -> None:
    strict.fault = fault  # type: ignore[assignment]
    with pytest.raises(FilesStoreError) as raised:
        await store.put_object(ANA, CHUNK, PACKED)
    assert says in str(raised.value)
    assert "X-Amz" not in str(raised.value)
    strict.fault = ""
    await store.put_object(ANA, CHUNK, PACKED)
    assert await store.chunk(ANA, CHUNK) == BLOCK
