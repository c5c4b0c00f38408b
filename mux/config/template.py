"""What `mux init` writes: an event file with every key explained, which loads as it is.

Owns how a value is written in TOML. The words come from the schema, so that no key can be forgotten. Keys that most
events set stand as they are; the others are commented out, with their defaults.
"""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path

from mux.config.environment import VARIABLES
from mux.config.kinds import size_text
from mux.config.schema import TABLES
from mux.config.tables import Entry
from mux.config.warming_kinds import local_time_text

_WIDTH = 100
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
"""A key that TOML takes without quotation marks."""
_SET = frozenset(
    {
        *("event.name", "event.title", "event.public_address", "event.admin_address"),
        *("project.name", "project.title", "project.image", "project.start", "project.memory", "project.cpu"),
        *("fleet.provider", "fleet.runtime", "fleet.attendees", "fleet.seats_per_ship", "fleet.spare_seats"),
        *("auth.mode", "listen.public", "listen.admin", "listen.control", "data.directory"),
    }
)
"""Keys that are not commented out."""


def toml(value: object) -> str:
    """A value as TOML writes it."""
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
        case dict():
            return "{" + ", ".join(f"{_key(name)} = {toml(part)}" for name, part in value.items()) + "}"
        case list() | tuple():
            return "[" + ", ".join(toml(part) for part in value) + "]"
        case _:
            # JSON's escapes are a subset of those of a TOML basic string.
            return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")


def _key(name: str) -> str:
    return name if _BARE_KEY.fullmatch(name) else toml(name)


def written(entry: Entry, value: object) -> str:
    """The value of a key as the file would write it; an empty text for None."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return toml(local_time_text(value))
    if entry.said.kind.name == "size" and isinstance(value, int):
        return toml(size_text(value))
    return toml(dict(value) if isinstance(value, Mapping) else value)


def template(
    *,
    name: str = "my-workshop",
    title: str = "My workshop",
    project: str = "intro",
    image: str = "images/intro",
    attendees: int = 4,
    seats_per_ship: int = 2,
) -> str:
    """An event file of one project, every key explained.

    Args:
        name: of the event.
        title: of the event.
        project: name of the project.
        image: directory of its image, relative to the file's.
        attendees: people expected.
        seats_per_ship: attendees that share one machine.
    """
    values: dict[str, object] = {
        "event.name": name,
        "event.title": title,
        "project.name": project,
        "project.title": project.replace("-", " ").capitalize(),
        "project.image": image,
        "fleet.attendees": attendees,
        "fleet.seats_per_ship": seats_per_ship,
    }
    return "\n".join(_lines(values))


def _lines(values: Mapping[str, object]) -> Iterator[str]:
    yield "# An event of mux. Every key is explained in docs/reference/event-file.md."
    yield "# Check and apply a change with `mux apply`. Relative paths start at this file's directory."
    yield "# Lines that are commented out show defaults, or an example where there is no default."
    yield (
        f"# Listeners, paths and secrets can also come from the environment: {', '.join(VARIABLES)}.".replace(
            ": ", ":\n#   ", 1
        )
        .replace("MUX_DATA", "\n#   MUX_DATA", 1)
        .replace("MUX_REGISTRY", "\n#   MUX_REGISTRY", 1)
        .replace(", \n", ",\n")
    )
    for table, model in TABLES.items():
        yield ""
        yield ""
        yield from _comment(model.doc)
        yield f"[[{table}]]" if table == "project" else f"[{table}]"
        for entry in model.entries():
            dotted = f"{table}.{entry.name}"
            yield ""
            yield from _comment(f"{entry.said.doc} Allowed: {entry.said.kind.allowed}.")
            value = values.get(dotted, entry.said.example if entry.required else entry.default)
            shown = written(entry, value) or written(entry, entry.said.example)
            yield ("" if dotted in _SET else "# ") + f"{entry.name} = {shown}"
    yield ""


def _comment(text: str) -> Iterator[str]:
    for line in textwrap.wrap(text, _WIDTH, break_long_words=False, break_on_hyphens=False):
        yield f"# {line}"


def starter_files(*, name: str = "my-workshop", title: str = "My workshop") -> Mapping[Path, str]:
    """What a new event starts from: relative paths and their text. The event file among them loads as it is.

    Args:
        name: of the event.
        title: of the event.
    """
    notebook = {
        "cells": [
            {
                "cell_type": "markdown",
                "id": "welcome",
                "metadata": {},
                "source": ["# Welcome\n", "\n", "Put your notebooks beside this one: every attendee gets a copy."],
            },
            {
                "cell_type": "code",
                "execution_count": None,
                "id": "first",
                "metadata": {},
                "outputs": [],
                "source": ["6 * 7"],
            },
        ],
        "metadata": {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return {
        Path("event.toml"): template(name=name, title=title),
        Path("images/intro/home/welcome.ipynb"): json.dumps(notebook, indent=1) + "\n",
    }
