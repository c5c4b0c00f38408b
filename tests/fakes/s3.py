"""S3 that looks at what moto does not, and that fails when a test says so: a gate in front of moto's server.

Rules: a request passes if its signature is that of its own method, path, query and signed headers, is not older than it
may be, and if its body has the SHA-256 that it was signed for; everything else is refused as Amazon's S3 does (Amazon
S3 API Reference, "Authenticating Requests (AWS Signature Version 4)").
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import hmac
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Final, Literal
from urllib.parse import parse_qsl, quote, urlsplit

import aiohttp
from aiohttp import web
from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from yarl import URL

ACCESS_KEY: Final = "testing"
SECRET_KEY: Final = "testing"
REGION: Final = "eu-central-1"
HEADER_SIGNED_S: Final = 900
"""How long a request may be under way whose signature is in its headers."""
SLOW_S: Final = 5.0
STAMP: Final = "%Y%m%dT%H%M%SZ"
_HOP = frozenset({"connection", "expect", "keep-alive", "transfer-encoding", "content-length", "date", "server"})

Fault = Literal["", "deny", "skewed", "slow", "reset"]
"""What becomes of requests: they pass, are refused, pass after SLOW_S, or their connection is cut without an answer."""
_CODES = {"deny": "AccessDenied", "skewed": "RequestTimeTooSkewed"}


@contextlib.contextmanager
def moto_running() -> Iterator[str]:
    """Moto's server; its address."""
    from moto.server import ThreadedMotoServer  # only where it is used: its import takes a second

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.stop()


class Gate:
    """See the module.

    Args:
        behind: address of moto's server.
        port: to listen on.

    ``fault`` is what becomes of requests from now on, ``after`` how many more pass before that.
    """

    def __init__(self, behind: str, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.fault: Fault = ""
        self.after = 0
        self.answered: list[tuple[str, str, int]] = []
        """Method, path and status of every answer."""
        self.cut: list[str] = []
        """Paths of the requests whose connections were cut."""
        self._behind = behind
        self._port = port
        self._session: aiohttp.ClientSession
        self._runner: web.AppRunner | None = None

    async def come(self) -> None:
        """Listen, for the first time or again."""
        app = web.Application(client_max_size=64 << 20)
        app.router.add_route("*", "/{rest:.*}", self._serve)
        self._session = aiohttp.ClientSession(auto_decompress=False)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port, reuse_address=True).start()

    async def go(self) -> None:
        """Listen no more; connections are cut."""
        if self._runner is not None:
            await self._runner.cleanup()
            await self._session.close()
        self._runner = None

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        fault: Fault = "" if self.after > 0 else self.fault
        self.after = max(0, self.after - 1)
        if fault == "reset":
            assert request.transport is not None
            self.cut.append(request.path)
            request.transport.abort()
            return web.Response()
        if fault == "slow":
            await asyncio.sleep(SLOW_S)
        code = _CODES.get(fault, "") or refusal(request, body)
        answer = _refused(code) if code else await self._passed(request, body)
        self.answered.append((request.method, request.path, answer.status))
        return answer

    async def _passed(self, request: web.Request, body: bytes) -> web.Response:
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP}
        address = URL(f"{self._behind}{request.raw_path}", encoded=True)
        async with self._session.request(request.method, address, data=body, headers=headers) as answer:
            content = await answer.read()
            kept = {name: value for name, value in answer.headers.items() if name.lower() not in _HOP}
            return web.Response(status=answer.status, body=content, headers=kept)


@contextlib.asynccontextmanager
async def gate(behind: str, port: int) -> AsyncIterator[Gate]:
    """A gate that is open, until the block ends."""
    made = Gate(behind, port)
    await made.come()
    try:
        yield made
    finally:
        await made.go()


def refusal(request: web.Request, body: bytes) -> str:
    """What S3 calls the error of a request; empty if it may pass."""
    query = dict(parse_qsl(urlsplit(request.raw_path).query, keep_blank_values=True))
    if "X-Amz-Signature" in query:
        said, signed, stamp = query.pop("X-Amz-Signature"), query["X-Amz-SignedHeaders"], query["X-Amz-Date"]
        lasts_s, of = int(query["X-Amz-Expires"]), query["X-Amz-Credential"]
    else:
        scheme, _, words = request.headers.get("Authorization", "").partition(" ")
        parts = dict(part.strip().partition("=")[::2] for part in words.split(","))
        if scheme != "AWS4-HMAC-SHA256":
            return "AccessDenied"
        said, signed, of = parts["Signature"], parts["SignedHeaders"], parts["Credential"]
        stamp, lasts_s = request.headers["X-Amz-Date"], HEADER_SIGNED_S
        if request.headers["X-Amz-Content-SHA256"] not in (hashlib.sha256(body).hexdigest(), "UNSIGNED-PAYLOAD"):
            return "XAmzContentSHA256Mismatch"
    if not of.startswith(f"{ACCESS_KEY}/"):
        return "InvalidAccessKeyId"
    if datetime.now(UTC) > datetime.strptime(stamp, STAMP).replace(tzinfo=UTC) + timedelta(seconds=lasts_s):
        return "AccessDenied"
    if not hmac.compare_digest(said, _signature(request, query, signed.split(";"), stamp)):
        return "SignatureDoesNotMatch"
    checksum = request.headers.get("x-amz-checksum-sha256")
    if checksum is not None and checksum != base64.b64encode(hashlib.sha256(body).digest()).decode():
        return "BadDigest"
    return ""


def _signature(request: web.Request, query: dict[str, str], signed: list[str], stamp: str) -> str:
    """What the signature of such a request is."""
    presigned = "X-Amz-SignedHeaders" in query
    words = "&".join(f"{quote(name, safe='-_.~')}={quote(value, safe='-_.~')}" for name, value in query.items())
    path = urlsplit(request.raw_path).path
    made = AWSRequest(request.method, f"http://{request.host}{path}?{words}")
    for name in signed:
        made.headers[name] = request.headers.get(name, "")
    made.context["timestamp"] = stamp
    signer = (S3SigV4QueryAuth if presigned else S3SigV4Auth)(Credentials(ACCESS_KEY, SECRET_KEY), "s3", REGION)
    return str(signer.signature(signer.string_to_sign(made, signer.canonical_request(made)), made))


def _refused(code: str) -> web.Response:
    text = f"<Error><Code>{code}</Code><Message>As S3 says it.</Message></Error>"
    return web.Response(status=400 if code == "BadDigest" else 403, text=text, content_type="application/xml")
