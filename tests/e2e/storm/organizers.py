"""Organizers in a hurry: what they ask of mux, over its admin socket, one thing after the other at random.

A mux that is being restarted may be away, and may refuse what does not fit any more; any other refusal is a finding.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp

PROJECT = "room"
IMAGES = ("image1", "image2")
FITS_NOT = (404, 409, 422, 503)
"""A ship that has ended, a rollout that stands otherwise by now, a mux that is busy."""
PAUSE_S = (0.5, 2.5)
ANSWER_S_MAX = 60.0


class Organizers:
    """They ask for one thing after the other.

    Args:
        socket: mux's admin socket.
        random: decides for what.
        moves_max: ships that are drained or replaced, at most: each costs another start of its workspaces.
    """

    def __init__(self, socket: Path, random: random.Random, moves_max: int) -> None:
        self._socket = socket
        self._random = random
        self._moves_left = moves_max
        self.done: Counter[str] = Counter()
        self.wrong: list[str] = []

    async def work(self, moments: AsyncIterator[None]) -> None:
        """Ask for something at each of these moments."""
        asks: list[Callable[[], Awaitable[None]]] = [
            self._push, self._steer, self._tell, self._doors, self._cordon, self._move, self._look,
        ]  # fmt: skip
        async for _ in moments:
            await self._random.choice(asks)()

    async def calm(self) -> None:
        """Leave nothing behind that keeps anybody waiting."""
        await self._ask("/doors", {"doors": "open"})
        for ship in await self._ships():
            await self._ask(f"/ships/{ship}/uncordon")
        await self._ask(f"/rollouts/{PROJECT}/steer", {"order": "resume"})

    async def _push(self) -> None:
        wishes = {"image": self._random.choice(IMAGES), "max_unavailable": "10%", "note": "fixes <b>cell 4</b>"}
        await self._ask(f"/rollouts/{PROJECT}", wishes)

    async def _steer(self) -> None:
        await self._ask(
            f"/rollouts/{PROJECT}/steer", {"order": self._random.choice(("pause", "resume", "resume", "abort"))}
        )

    async def _tell(self) -> None:
        await self._ask("/broadcast", {"text": self._random.choice(("", "Lunch is ready."))})

    async def _doors(self) -> None:
        await self._ask("/doors", {"doors": self._random.choice(("open", "closed", "auto"))})

    async def _cordon(self) -> None:
        if ships := await self._ships():
            await self._ask(f"/ships/{self._random.choice(ships)}/{self._random.choice(('cordon', 'uncordon'))}")

    async def _move(self) -> None:
        ships = await self._ships()
        if self._moves_left and ships:
            self._moves_left -= 1
            ship = self._random.choice(ships)
            if self._random.random() < 0.5:
                await self._ask(f"/ships/{ship}/drain", {"evict": True})
            else:
                await self._ask(f"/ships/{ship}/replace")

    async def _look(self) -> None:
        for path in ("/status", "/metrics", "/rollouts", "/fleet/warming", "/roster"):
            await self._ask(path)

    async def _ships(self) -> list[str]:
        found = await self._ask("/status")
        return [ship["id"] for ship in found["ships"]] if found else []

    async def _ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """The answer's JSON; None where there is none that can be used."""
        reading = body is None and not path.endswith(("cordon", "replace"))
        method, sent = ("GET", None) if reading else ("POST", body or {})
        connector = aiohttp.UnixConnector(str(self._socket))
        limit = aiohttp.ClientTimeout(total=ANSWER_S_MAX)
        try:
            async with (
                aiohttp.ClientSession(connector=connector, timeout=limit) as session,
                session.request(method, f"http://mux/api/v1{path}", json=sent) as answer,
            ):
                text = await answer.text()
                self.done[f"{path.rpartition('/')[2]}: {answer.status}"] += 1
                if answer.status in FITS_NOT:
                    return None
                if answer.status >= 400:
                    self.wrong.append(f"{path}: {answer.status} {text[:200]}")
                    return None
                return await answer.json() if answer.content_type == "application/json" else None
        except (aiohttp.ClientError, OSError):
            self.done["away"] += 1
        except TimeoutError:
            self.wrong.append(f"{path}: no answer within {ANSWER_S_MAX:.0f} s")
        return None
