"""The table of an event file that is about rollouts, and the kind of value that says how many at once."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar

from mux.config import kinds
from mux.config.faults import Refused
from mux.config.kinds import Kind
from mux.config.tables import Key, Table

COUNT_MAX = 20_000
"""Twice the largest event."""
_SHARE = re.compile(r"([1-9][0-9]?|100)%")
_COUNT = re.compile(r"[1-9][0-9]{0,4}")
ALLOWED = f'a share such as "10%", or a number from 1 to {COUNT_MAX} as a text, such as "5"'


def share_or_count(written: str) -> tuple[float, int] | None:
    """A share in (0, 1] and 0, or 0 and a number; None for what is neither."""
    if _SHARE.fullmatch(written):
        return int(written[:-1]) / 100, 0
    if _COUNT.fullmatch(written) and int(written) <= COUNT_MAX:
        return 0.0, int(written)
    return None


def _share() -> Kind:
    def read(value: object) -> str:
        if not isinstance(value, str) or share_or_count(value) is None:
            raise Refused
        return value

    return Kind("share or number", ALLOWED, read)


class RolloutTable(Table):
    """How careful rollouts are."""

    doc: ClassVar[str] = "Rollouts (`mux push`): how careful mux is when it gives people another image."

    max_unavailable: Annotated[
        str,
        Key(_share(), "Attendees of a project whose workspace may be away at once for a swap.", "10%"),
    ] = "10%"
    monitor_s: Annotated[
        float,
        Key(kinds.number(0, 3600, unit="seconds"), "How long a wave is watched before the next one.", 10.0),
    ] = 10.0
    start_max_s: Annotated[
        float,
        Key(kinds.number(1, 3600, unit="seconds"), "Time within which a workspace of a new image must answer.", 60.0),
    ] = 60.0
    swap_hold_s: Annotated[
        float,
        Key(
            kinds.number(0, 600, unit="seconds"),
            "How long a request waits for a workspace that is being swapped.",
            20.0,
        ),
    ] = 20.0
    failures_max: Annotated[
        int,
        Key(kinds.whole(0, 1000), "Ships and workspaces that may fail before a rollout stops itself.", 2),
    ] = 2
    idle_after_s: Annotated[
        float,
        Key(
            kinds.number(1, 86_400, unit="seconds"),
            "Time without work after which an attendee counts as idle, for `mux push --when idle`.",
            120.0,
        ),
    ] = 120.0

    @property
    def at_once(self) -> tuple[float, int]:
        """``max_unavailable`` as a share and a number, one of which is 0."""
        return share_or_count(self.max_unavailable) or (0.0, 1)
