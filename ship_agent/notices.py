"""What a machine's owner has announced for it, asked of the machine's metadata service: for now EC2's, by IMDSv2.

Owns the questions, their pace and the reading of the answers. Knows nothing of what follows from a notice: reports
carry it to the mux. Sources: Amazon EC2 User Guide, "Spot Instance interruption notices" (two minutes' warning, to be
asked for every five seconds), "EC2 instance rebalance recommendations", "Scheduled events for your instances".

Rules: whatever the service does, the agent goes on: each question is bounded in time and size, and one that fails
leaves what was known. A machine without such a service is asked ever more rarely. Nothing follows a redirect or a
proxy.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

import aiohttp
import structlog

from ship_agent.protocol.messages import NOTICES_MAX, Notice

log = structlog.get_logger(__name__)

ASK_S: Final = 5.0
ASK_MAX_S: Final = 300.0
"""Pause between two questions to a service that does not answer: it doubles up to this."""
ANSWER_S_MAX: Final = 2.0
ANSWER_BYTES_MAX: Final = 64 * 1024
TOKEN_S: Final = 21_600
"""Life of a token; a new one is had when the service refuses the old one."""

DETAIL_CHARS_MAX: Final = 200
"""Bound of the protocol's detail."""
TIME_FORMS: Final = ("%Y-%m-%dT%H:%M:%SZ", "%d %b %Y %H:%M:%S GMT")

INTERRUPTION: Final = "spot/instance-action"
REBALANCE: Final = "events/recommendations/rebalance"
MAINTENANCE: Final = "events/maintenance/scheduled"


class _RefusedError(Exception):
    """The token is not taken any more."""


class Notices:
    """Asks on and on.

    Args:
        url: of the service, ``http://host``.
        changed: called when what is announced has changed.
    """

    def __init__(self, url: str, changed: Callable[[], None]) -> None:
        self._url = url
        self._changed = changed
        self._token = ""
        self.announced: tuple[Notice, ...] = ()

    async def run(self) -> None:
        """Until cancelled."""
        pause_s = ASK_S
        timeout = aiohttp.ClientTimeout(total=ANSWER_S_MAX)
        async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), timeout=timeout) as session:
            while True:
                try:
                    found = await self._ask_all(session)
                except (aiohttp.ClientError, _RefusedError, OSError, TimeoutError, ValueError):
                    pause_s = min(ASK_MAX_S, pause_s * 2)
                else:
                    pause_s = ASK_S
                    if found != self.announced:
                        log.warning("announced for this machine", notices=[notice.model_dump() for notice in found])
                        self.announced = found
                        self._changed()
                await asyncio.sleep(pause_s)

    async def _ask_all(self, session: aiohttp.ClientSession) -> tuple[Notice, ...]:
        answers = {}
        for path in (INTERRUPTION, REBALANCE, MAINTENANCE):
            try:
                answers[path] = await self._ask(session, path)
            except _RefusedError:
                await self._new_token(session)
                answers[path] = await self._ask(session, path)
        return notices(answers[INTERRUPTION], answers[REBALANCE], answers[MAINTENANCE])

    async def _ask(self, session: aiohttp.ClientSession, path: str) -> str:
        """One answer; empty if there is nothing to say."""
        if not self._token:
            await self._new_token(session)
        headers = {"X-aws-ec2-metadata-token": self._token}
        async with session.get(
            f"{self._url}/latest/meta-data/{path}", headers=headers, allow_redirects=False
        ) as answer:
            if answer.status == 401:
                raise _RefusedError
            if answer.status == 404:
                return ""
            if answer.status != 200:
                raise ValueError(f"status {answer.status}")
            return await _text(answer)

    async def _new_token(self, session: aiohttp.ClientSession) -> None:
        headers = {"X-aws-ec2-metadata-token-ttl-seconds": str(TOKEN_S)}
        async with session.put(f"{self._url}/latest/api/token", headers=headers, allow_redirects=False) as answer:
            if answer.status != 200:
                raise ValueError(f"status {answer.status}")
            self._token = await _text(answer)


async def _text(answer: aiohttp.ClientResponse) -> str:
    """A bounded body. Raises ValueError above ANSWER_BYTES_MAX, or when it is not UTF-8."""
    body = b""
    async for piece in answer.content.iter_any():
        body += piece
        if len(body) > ANSWER_BYTES_MAX:
            raise ValueError("more than a notice has")
    return body.decode()


def notices(interruption: str, rebalance: str, maintenance: str) -> tuple[Notice, ...]:
    """What the three answers say, the most urgent first; empty texts stand for nothing.

    Raises ValueError for an answer that is not of the documented form.
    """
    found = []
    if interruption:
        said = _object(json.loads(interruption))
        found.append(Notice(kind="interruption", at=_seconds(said.get("time")), detail=_detail(said.get("action"))))
    events = json.loads(maintenance) if maintenance else []
    for event in map(_object, events if isinstance(events, list) else ()):
        # Those that are over or called off stay listed for a while.
        if event.get("State", "active") == "active":
            at, code = _seconds(event.get("NotBefore")), _detail(event.get("Code"))
            found.append(Notice(kind="maintenance", at=at, detail=code))
    if rebalance:
        found.append(Notice(kind="rebalance", at=_seconds(_object(json.loads(rebalance)).get("noticeTime"))))
    return tuple(found[:NOTICES_MAX])


def _object(raw: Any) -> dict[str, Any]:
    if not isinstance(raw, dict):
        raise ValueError("not a JSON object")
    return raw


def _detail(raw: object) -> str:
    return raw[:DETAIL_CHARS_MAX] if isinstance(raw, str) else ""


def _seconds(raw: object) -> float | None:
    """Seconds since the epoch of a time as the service writes it: ISO 8601, or that of e-mail for maintenance."""
    if not isinstance(raw, str):
        return None
    for form in TIME_FORMS:
        with contextlib.suppress(ValueError):
            return max(0.0, datetime.strptime(raw, form).replace(tzinfo=UTC).timestamp())
    return None
