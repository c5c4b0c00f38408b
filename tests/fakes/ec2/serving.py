"""The fake EC2 for clients: over HTTP on a port of its own, or inside the client's process, where time may be virtual.

The same aiobotocore clients work against both. Inside the process no socket is used: under a virtual event loop
(:mod:`tests.fakes.virtual`) a thousand launches take as long as their computing.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiobotocore.awsrequest import AioAWSResponse
from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession
from aiohttp import web
from botocore.exceptions import ConnectionClosedError, ReadTimeoutError

from tests.fakes.ec2.api import Api, ConnectionLostError
from tests.fakes.ec2.catalog import REGION
from tests.fakes.ec2.cloud import KEY_ID, Cloud
from tests.fakes.ec2.faults import Faults

IN_PROCESS = "http://ec2.fake"
BODY_BYTES_MAX = 1 << 20


class Following:
    """Lets a cloud's time follow an event loop's: what is due happens by itself."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time() - cloud.now
        self._alarm: asyncio.TimerHandle | None = None
        cloud.clock = lambda: self._loop.time() - self._began
        cloud.timeline.planned = self._set_alarm
        self._set_alarm()

    def stop(self) -> None:
        """Leave time to the test again."""
        self._cloud.clock = None
        self._cloud.timeline.planned = lambda: None
        if self._alarm:
            self._alarm.cancel()

    def _set_alarm(self) -> None:
        if self._alarm:
            self._alarm.cancel()
        due = self._cloud.timeline.next_at
        if due is not None:
            self._alarm = self._loop.call_at(self._began + due, self._ring, due)

    def _ring(self, due: float) -> None:
        self._cloud.timeline.run(due)  # the loop's own clock may still be a rounding error short of it
        self._cloud.catch_up()
        self._set_alarm()


@asynccontextmanager
async def api_of(cloud: Cloud, faults: Faults | None = None, *, follow: bool = False) -> AsyncIterator[Api]:
    """The services of a cloud. ``follow``: its time follows the event loop; otherwise the test advances it."""
    following = Following(cloud) if follow else None
    try:
        yield Api(cloud, faults)
    finally:
        if following:
            following.stop()


@asynccontextmanager
async def served(api: Api, host: str = "127.0.0.1") -> AsyncIterator[str]:
    """Serve over HTTP on a free port; the URL for ``endpoint_url``."""

    async def handle(request: web.Request) -> web.Response:
        try:
            answer = await api.answer(request.headers, await request.read())
        except ConnectionLostError:
            if request.transport is not None:
                request.transport.abort()
            raise asyncio.CancelledError from None
        return web.Response(status=answer.status, body=answer.body, headers=api.headers(answer))

    app = web.Application(client_max_size=BODY_BYTES_MAX)
    app.router.add_post("/", handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, 0)
        await site.start()
        yield f"http://{host}:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


class _Body:
    """An answer's body as aiobotocore reads it."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    async def read(self) -> bytes:
        return self._body


class _InProcess:
    """aiobotocore's HTTP session, without HTTP. Its arguments are those of ``AIOHTTPSession``."""

    def __init__(self, api: Api, *, timeout: Any = None, **_others: Any) -> None:
        self._api = api
        self._read_timeout_s = timeout[1] if isinstance(timeout, list | tuple) else timeout

    async def __aenter__(self) -> _InProcess:
        return self

    async def __aexit__(self, *_exc: object) -> None:
        return None

    async def close(self) -> None:
        """Nothing is open."""

    async def send(self, request: Any) -> AioAWSResponse:
        """One request, one answer, or the error that botocore raises without one."""
        headers = {name: _text(value) for name, value in request.headers.items()}
        body = request.body or b""
        try:
            answer = await asyncio.wait_for(
                self._api.answer(headers, body.encode() if isinstance(body, str) else body), self._read_timeout_s
            )
        except ConnectionLostError as error:
            raise ConnectionClosedError(error=error, request=request, endpoint_url=request.url) from error
        except TimeoutError as error:
            raise ReadTimeoutError(endpoint_url=request.url, error=error) from error
        answered = {name.lower(): value for name, value in self._api.headers(answer).items()}
        return AioAWSResponse(request.url, answer.status, answered, _Body(answer.body))


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


@functools.cache
def _session() -> AioSession:
    """One for all: loading the description of EC2 takes a second."""
    return AioSession()


def client_settings(at: str | Api, *, key: str = KEY_ID, **config: Any) -> dict[str, Any]:
    """What ``AioSession.create_client`` needs to reach the fake at a URL, or in this process.

    Args:
        key: the access key to come with.
        config: more of ``AioConfig``; without it botocore tries nothing twice.
    """
    options: dict[str, Any] = {"retries": {"total_max_attempts": 1}, **config}
    if isinstance(at, Api):
        options["http_session_cls"] = functools.partial(_InProcess, at)
    return {
        "region_name": REGION,
        "endpoint_url": IN_PROCESS if isinstance(at, Api) else at,
        "aws_access_key_id": key,
        "aws_secret_access_key": "not a secret",
        "verify": False,  # nothing is encrypted here, and loading the authorities takes longer than the call
        "config": AioConfig(**options),
    }


@asynccontextmanager
async def client(service: str, at: str | Api, *, key: str = KEY_ID, **config: Any) -> AsyncIterator[Any]:
    """A client of ``ec2``, ``sts`` or ``service-quotas`` for the fake."""
    async with _session().create_client(service, **client_settings(at, key=key, **config)) as made:
        yield made
