"""What a check says: one line, with the number, the limit, and what to do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Outcome(StrEnum):
    """How a check ended, from good to bad."""

    OK = "ok"
    WARNING = "warning"
    FAILURE = "failure"


EXIT_CODES = {Outcome.OK: 0, Outcome.WARNING: 1, Outcome.FAILURE: 2}
"""Of a whole preflight, by its worst outcome."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found.

    Args:
        check: what was looked at, in two or three words.
        outcome: how it ended.
        said: what is so, one sentence with the number and the limit.
        remedy: what to do; empty where all is well.
        number: what was found, for programs; None where there is no number.
        limit: what it is held against.
        unit: of both.
    """

    check: str
    outcome: Outcome
    said: str
    remedy: str = ""
    number: float | None = None
    limit: float | None = None
    unit: str = ""

    def as_json(self) -> dict[str, Any]:
        """For `mux check --json`."""
        return asdict(self)


def ok(check: str, said: str, **numbers: Any) -> Finding:
    """All is well."""
    return Finding(check, Outcome.OK, said, **numbers)


def warning(check: str, said: str, remedy: str, **numbers: Any) -> Finding:
    """It may work."""
    return Finding(check, Outcome.WARNING, said, remedy, **numbers)


def failure(check: str, said: str, remedy: str, **numbers: Any) -> Finding:
    """It will not work."""
    return Finding(check, Outcome.FAILURE, said, remedy, **numbers)


TIGHT = 0.9
"""Share of a limit above which little can go wrong any more: what is replaced counts until it is gone."""


def within(check: str, what: str, number: float, limit: float, *, unit: str, remedy: str) -> Finding:
    """A number that must not exceed a limit, and should leave some room.

    Args:
        check: see `Finding`.
        what: names the number, e.g. ``10 run and 20 are asked for``.
        number, limit, unit: see `Finding`.
        remedy: what to do about too much.
    """
    said = f"{what}: {shown(number)} of {shown(limit)} {unit}"
    if TIGHT * limit < number <= limit:
        tight = f"{said}, which leaves little for ships that are replaced"
        return warning(check, tight, remedy, number=number, limit=limit, unit=unit)
    if number <= limit:
        return ok(check, said, number=number, limit=limit, unit=unit)
    return failure(check, said, remedy, number=number, limit=limit, unit=unit)


def worst(findings: Iterable[Finding]) -> Outcome:
    """The worst outcome; ok for none."""
    order = list(Outcome)
    return max((finding.outcome for finding in findings), key=order.index, default=Outcome.OK)


def shown(number: float) -> str:
    """A number with at most one decimal, and thousands set apart."""
    return f"{number:,.0f}" if number == int(number) else f"{number:,.1f}"
