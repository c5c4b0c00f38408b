"""The fuzzer: takes messages of the corpus, spoils them, and has every exchange done both ways.

An exchange that ends as none before it did is kept, for this run, as something to go on from; so the corpus stays
small, and a seed always gives the same run.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

from tests.proxy.fuzz import rules
from tests.proxy.fuzz.mutate import mutated, pieces
from tests.proxy.fuzz.stage import Outcome, Stage

CORPUS = Path(__file__).parent / "corpus"
TIMES = 3
"""A head is remembered when it came twice, and found the third time."""


@dataclass(frozen=True)
class Input:
    """What a client sends, and what workspaces answer, in pieces."""

    request: tuple[bytes, ...]
    answer: tuple[bytes, ...]


def corpus(kind: str) -> dict[str, bytes]:
    """The messages of a directory, by name."""
    return {path.stem: path.read_bytes() for path in sorted((CORPUS / kind).iterdir())}


class Fuzzer:
    """Both planes, and what to send through them.

    Args:
        seed: of every choice.
    """

    def __init__(self, seed: int) -> None:
        self._dice = random.Random(seed)
        self._requests = list(corpus("requests").values())
        self._answers = list(corpus("answers").values())
        self._known: set[tuple[object, ...]] = set()
        self.exchanges = 0
        self.last: Input | None = None

    @property
    def ends(self) -> int:
        """How many different ways exchanges ended."""
        return len(self._known)

    async def open(self) -> None:
        """Make the planes."""
        self._short, self._strict = Stage(memo=True), Stage(memo=False)
        await self._short.open()
        await self._strict.open()

    async def close(self) -> None:
        """End the planes."""
        await self._short.close()
        await self._strict.close()

    async def step(self) -> None:
        """One input. Raises AssertionError for a breach of the rules, or whatever broke."""
        dice = self._dice
        request, answer = dice.choice(self._requests), dice.choice(self._answers)
        if dice.random() < 0.8:
            request = mutated(dice, request, self._requests)
        if dice.random() < 0.6:
            answer = mutated(dice, answer, self._answers)
        outcome = await self.run(Input(tuple(pieces(dice, request)), tuple(pieces(dice, answer))))
        if (end := _end(outcome)) not in self._known:
            self._known.add(end)
            self._requests.append(request)
            self._answers.append(answer)

    async def run(self, chosen: Input) -> Outcome:
        """One input, as often as it takes to be remembered; how it ends the strict way."""
        self.last = chosen
        self.exchanges += 1
        strict = await self._strict.exchange(chosen.request, chosen.answer)
        rules.hold(strict)
        for _ in range(TIMES):
            rules.agree(await self._short.exchange(chosen.request, chosen.answer), strict)
        return strict


def _end(outcome: Outcome) -> tuple[object, ...]:
    """What distinguishes an outcome from others, roughly."""
    names = tuple(name for name, _ in outcome.to_workspaces)
    bits = tuple(mark in outcome.to_client for mark in (b"chunked", b"Content-Length", b"close", b"Upgrade"))
    return outcome.refused, outcome.end, outcome.to_client[9:12], names, bits
