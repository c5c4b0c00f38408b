"""The mux of `mux image try`, as it is spoken to: over its admin API, as any command does.

Knows neither the author's directory nor what is in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import aiohttp

from mux.imagecheck.subject import Subject

FAILURE_LINES = 15
"""Of the end of a failed workspace's log."""
TOLD_CHARS_MAX = 400
"""Of what stands on the projects' page: a mux takes 500."""
TROUBLE = (aiohttp.ClientError, TimeoutError, OSError, ValueError, KeyError)
"""What is raised when it does not answer, or not as it should."""


class SmallMux:
    """One mux.

    Args:
        session: leads to its socket.
        subject: its one project.
    """

    def __init__(self, session: aiohttp.ClientSession, subject: Subject) -> None:
        self._session = session
        self._subject = subject
        self._pending = False

    async def arriving(self) -> tuple[bool, list[str]]:
        """Whether the author may come in; and how far it is, or what failed with the end of its log."""
        try:
            status = await self._get("status")
            failures = [why for ship in status["ships"] for seat in ship["seats"] for why in seat["failures"].values()]
            # A start that is tried again fails with the same words.
            lines = [*dict.fromkeys(line for why in failures for line in str(why).splitlines()[-FAILURE_LINES:])]
            if not status["seats_ready"] + status["seats_assigned"]:
                return False, [*(ship["phase"] for ship in status["ships"] if ship["phase"]), *lines]
            if lines:
                followed = self._subject.source is not None
                lines.append("mend it: what you save is tried at once" if followed else "mend it, and start this again")
            return True, lines
        except TROUBLE:
            return False, []

    async def push(self) -> str:
        """Give the workspace the image as it is now; why that is refused, or an empty text. Raises as aiohttp does."""
        refused = await self._post(f"rollouts/{self._subject.name}", {"image": self._subject.image})
        self._pending = not refused
        return refused

    async def news(self) -> list[str]:
        """How a push has ended, once. Raises as aiohttp does."""
        if not self._pending:
            return []
        (rollout,) = (await self._get("rollouts"))["rollouts"]
        if rollout["phase"] in ("pulling", "proving", "swapping"):
            return []
        self._pending = False
        if rollout["phase"] == "done":
            return ["your workspace has it; your files in it are as you left them"]
        reasons = [str(failure["why"]) for failure in rollout["failures"]]
        return [f"your workspace stays as it was: {rollout['why']}", *reasons]

    async def tell(self, lines: list[str]) -> str:
        """Have open pages show files that were taken over; result and errors as of `push`."""
        if self._subject.wishes.kind == "jupyter":
            return await self._post(f"projects/{self._subject.name}/changed", {})
        text = f"{'; '.join(lines)[:TOLD_CHARS_MAX]}. Load your page anew to see it."
        return await self._post("broadcast", {"text": text})

    async def _get(self, path: str) -> Mapping[str, Any]:
        async with self._session.get(f"http://mux/api/v1/{path}") as response:
            response.raise_for_status()
            found: Mapping[str, Any] = await response.json()
            return found

    async def _post(self, path: str, body: Mapping[str, str]) -> str:
        """Empty if it was carried out, else why not."""
        async with self._session.post(f"http://mux/api/v1/{path}", json=body) as response:
            found = await response.json()
            return "" if response.ok else str(found["error"]["message"])
