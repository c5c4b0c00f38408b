"""What a ship makes of answers that are none, or hostile, on its way to the mux's files."""

from __future__ import annotations

import gzip
import hashlib
import ssl
import zlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from ship_agent.protocol.snapshot import CHUNK_BYTES, MANIFEST_BYTES_MAX, Manifest, manifest_id
from ship_agent.snapshots import keeper
from ship_agent.snapshots.client import FilesClient, FilesError
from ship_agent.snapshots.keeper import SnapshotKeeper
from tests.files.snapshots import file_entry

BLOCK = b"what Ana wrote"
CHUNK = hashlib.sha256(BLOCK).hexdigest()
PACKED = zlib.compress(BLOCK)
GZIP = {"Content-Encoding": "gzip"}
ADDRESS = "ftp://127.0.0.1/chunk?X-Amz-Signature=a-secret"
SNAPSHOT = Manifest(digest="", taken_at=0, entries=[file_entry(b"a.txt", BLOCK)]).body()


@dataclass
class Answers:
    """What is answered: a body, with headers."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)


@pytest.fixture
def answers() -> Answers:
    """To be set by the test."""
    return Answers()


@pytest.fixture
async def client(answers: Answers, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FilesClient]:
    """Of a mux that answers so."""
    monkeypatch.setattr(keeper, "FETCH_PAUSE_S", 0.0)

    async def answer(request: web.Request) -> web.Response:
        answers.asked.append(request.path)
        if "snapshots" in request.path and not answers.body.startswith(b"{"):
            return web.Response(body=SNAPSHOT)
        return web.Response(status=answers.status, headers=answers.headers, body=answers.body)

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    async with TestServer(app) as server:
        client = FilesClient("wss://mux.example/control", ssl.create_default_context())
        client._base = str(server.make_url("/ship/files"))  # without TLS
        client.use("a-token")
        yield client
        await client.close()


async def test_an_address_that_is_none_is_tried_again_and_not_quoted(client: FilesClient, answers: Answers) -> None:
    answers.status, answers.headers = 307, {"Location": ADDRESS}
    with pytest.raises(FilesError) as raised:
        await client.chunk("w-1", CHUNK)
    assert raised.value.retryable
    assert "is none" in str(raised.value)
    assert "a-secret" not in repr((raised.value, raised.value.__cause__))


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        (Answers(PACKED[:-8]), "damaged"),
        (Answers(b""), "damaged"),
        (Answers(zlib.compress(b"what Ben wrote")), "damaged"),
        (Answers(zlib.compress(bytes(8 * CHUNK_BYTES))), "damaged"),
        (Answers(gzip.compress(PACKED), headers=GZIP), "damaged"),
        (Answers(gzip.compress(bytes(8 * CHUNK_BYTES)), headers=GZIP), "damaged"),
        (Answers(bytes(2 * CHUNK_BYTES)), "too much"),
    ],
    ids=["cut off", "nothing", "another's", "a bomb", "packed for the way", "a bomb for the way", "too much"],
)
async def test_chunks_that_are_none_touch_no_file(
    client: FilesClient, answers: Answers, tmp_path: Path, sent: Answers, why: str
) -> None:
    answers.body, answers.headers = sent.body, sent.headers
    home = tmp_path / "home"
    home.mkdir()
    (home / "a.txt").write_text("as it came")
    with pytest.raises(FilesError, match=why):
        await SnapshotKeeper(client, tmp_path / "staging").restore("w-1", home, manifest_id(SNAPSHOT))
    assert {path.name: path.read_text() for path in home.iterdir()} == {"a.txt": "as it came"}
    assert list((tmp_path / "staging").iterdir()) == []


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (Manifest(digest="", taken_at=1, entries=[]).body(), "damaged"),
        (b"{" + b" " * MANIFEST_BYTES_MAX + b"}", "too much"),
    ],
)
async def test_a_manifest_that_was_not_asked_for_is_none(
    client: FilesClient, answers: Answers, body: bytes, why: str
) -> None:
    answers.body = body
    with pytest.raises(FilesError, match=why):
        await client.manifest("w-1", manifest_id(SNAPSHOT))


@pytest.mark.parametrize("status", [404, 405])
async def test_a_mux_that_does_not_say_what_is_newest_has_nothing(
    client: FilesClient, answers: Answers, status: int
) -> None:
    answers.body, answers.status = b"{}", status
    assert await client.newest("w-1") is None
