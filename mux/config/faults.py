"""What is wrong with an event file, in words.

Owns `Fault` and `ConfigError`, how a value that was found is shown, and the guess at what was meant. Knows nothing of
the schema.

Rules: every fault of a file is reported at once; a text that stands in a secret's place is never shown; whatever is
shown is short, on one line, and free of control characters, since a file may come from anybody.
"""

from __future__ import annotations

import datetime
import difflib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

FAULTS_MAX = 100
"""Faults that are shown: who has more fixes these first. Keeps the answer to a hostile file short."""
SHOWN_CHARS_MAX = 60
"""Characters of a value that are shown: enough to find it in the file."""
NEAREST_CHARS_MAX = 200
"""Longer texts are not compared: difflib takes quadratic time."""

_BARE_KEY = re.compile(r"^[A-Za-z0-9_-]{1,60}$")
_USERINFO = re.compile(r"//[^/@\s]*@")


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong.

    Args:
        key: dotted path with index from 0, e.g. ``project[1].memory``; the variable's name if it came from one.
        found: what stands there, as shown to people; never a secret.
        allowed: what may stand there.
        nearest: the right name that is nearest to what was found, or None.
        where: whose key it is, e.g. ``project "intro"`` or ``line 3 of secrets.csv``; empty if the key says it all.
    """

    key: str
    found: str
    allowed: str
    nearest: str | None = None
    where: str = ""

    def __str__(self) -> str:
        where = f" ({self.where})" if self.where else ""
        nearest = f"; did you mean {self.nearest}?" if self.nearest else ""
        return f"{self.key}{where}: found {self.found}; allowed: {self.allowed}{nearest}"


class ConfigError(Exception):
    """An event file, or something that it names, is refused.

    Args:
        faults: all of them, at least one; beyond `FAULTS_MAX` they are counted only.
    """

    code = "config"

    def __init__(self, faults: Iterable[Fault]) -> None:
        every = tuple(faults)
        kept = every[:FAULTS_MAX]
        if len(every) > FAULTS_MAX:
            more = len(every) - FAULTS_MAX
            kept = (*kept, Fault("and more", f"{more} more faults", "a file without any: fix these first"))
        self.faults: tuple[Fault, ...] = kept
        super().__init__("\n".join(str(fault) for fault in kept))


@dataclass(frozen=True, slots=True)
class Part:
    """What a reader of one value refuses: the fault without its key.

    Args:
        found: what was found; None for the value itself.
        allowed: what is allowed; None for what the key allows.
        nearest: the right value that is nearest.
        below: path below the key, e.g. ``.PATH`` or ``[2]``.
    """

    found: str | None = None
    allowed: str | None = None
    nearest: str | None = None
    below: str = ""


class Refused(ValueError):  # noqa: N818 - a reader's answer inside this package, translated into faults
    """A value is not allowed. A ValueError, so that pydantic collects it."""

    def __init__(self, *parts: Part) -> None:
        super().__init__("refused")
        self.parts = parts or (Part(),)


def shown(value: object) -> str:
    """A value from a TOML file as people are shown it: one short line, userinfo of URLs left out."""
    match value:
        case None:
            return "nothing"
        case bool():
            return "true" if value else "false"
        case str():
            text = json.dumps(_USERINFO.sub("//…@", value[: SHOWN_CHARS_MAX * 2]), ensure_ascii=False)
            return _one_line(text)
        case int() if value.bit_length() > 64:
            return "an enormous number"
        case int() | float():
            return str(value)
        case dict():
            return "a table"
        case list() | tuple():
            return f"a list of {len(value)}" if value else "an empty list"
        case datetime.date() | datetime.time():
            return "a date or time"
        case _:
            return "a value of another type"


def kind_of(value: object) -> str:
    """The type of a TOML value for people, for places where the value itself may be a secret."""
    match value:
        case None:
            return "nothing"
        case bool():
            return "true or false"
        case str():
            return "a text" if value else "an empty text"
        case int() | float():
            return "a number"
        case _:
            return shown(value)


def _one_line(text: str) -> str:
    clean = "".join(character if character.isprintable() else "�" for character in text)
    return clean if len(clean) <= SHOWN_CHARS_MAX else f"{clean[: SHOWN_CHARS_MAX - 2]}…{clean[-1]}"


def dotted(location: Sequence[str | int]) -> str:
    """A path of keys and indices as people write it; keys that are not bare are quoted and cut."""
    path = ""
    for step in location:
        if isinstance(step, int):
            path += f"[{step}]"
        else:
            path += ("." if path else "") + (step if _BARE_KEY.fullmatch(step) else shown(step))
    return path


def nearest(name: object, names: Iterable[str]) -> str | None:
    """The one of ``names`` that is most like ``name``, or None when none is."""
    if not isinstance(name, str) or len(name) > NEAREST_CHARS_MAX:
        return None
    by_folded = {known.casefold(): known for known in names}
    close = difflib.get_close_matches(name.strip().casefold(), by_folded, n=1, cutoff=0.6)
    return by_folded[close[0]] if close else None
