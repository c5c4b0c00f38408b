"""docs/reference/event-file.md says what the schema says: of every key and variable, and of nothing else."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest

from mux.config import parse
from mux.config.environment import VARIABLES
from mux.config.kinds import RESERVED_VARIABLES
from mux.config.schema import RESERVED_PROJECT_NAMES, TABLES
from mux.config.tables import Entry
from mux.config.template import toml, written
from tests.config.files import VALID

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/reference/event-file.md").read_text(encoding="utf-8")
HOW_TO = (ROOT / "docs/how-to/describe-an-event.md").read_text(encoding="utf-8")


@dataclass(frozen=True)
class Documented:
    """One entry of the page."""

    text: str
    facts: dict[str, str]


def documented() -> dict[str, Documented]:
    """The entries of the page by dotted key."""
    entries = {}
    for part in re.split(r"^### ", PAGE, flags=re.MULTILINE)[1:]:
        heading, _, body = re.split(r"^## ", part, flags=re.MULTILINE)[0].partition("\n")
        facts = dict(re.findall(r"^- ([A-Z][a-z]+): (.+)$", body, flags=re.MULTILINE))
        assert heading.strip("`") not in entries, f"{heading} stands there twice"
        entries[heading.strip("`")] = Documented(body, facts)
    return entries


KEYS: dict[str, Entry] = {
    f"{table}.{entry.name}": entry for table, model in TABLES.items() for entry in model.entries()
}
DOCUMENTED = documented()


def test_every_key_is_documented_and_nothing_else_in_the_order_of_the_schema() -> None:
    assert list(DOCUMENTED) == list(KEYS)


def test_every_table_has_a_section_and_no_other() -> None:
    assert re.findall(r"^## `\[+([a-z0-9]+)\]+`$", PAGE, flags=re.MULTILINE) == list(TABLES)


@pytest.mark.parametrize("key", KEYS)
def test_an_entry_says_what_the_schema_says(key: str) -> None:
    entry, facts = KEYS[key], DOCUMENTED[key].facts
    assert list(facts) == ["Type", "Default", "Allowed", "Example", "Effect"]
    assert facts["Type"] == entry.said.kind.name
    assert facts["Allowed"] == entry.said.kind.allowed
    assert entry.said.doc in DOCUMENTED[key].text
    if entry.required:
        assert facts["Default"] == "none: it must be given"
    elif entry.default is not None:
        assert facts["Default"] == f"`{written(entry, entry.default)}`"


@pytest.mark.parametrize("key", KEYS)
def test_an_example_is_allowed(key: str) -> None:
    example = tomllib.loads(DOCUMENTED[key].facts["Example"].strip("`"))
    assert list(example) == [KEYS[key].name]
    KEYS[key].said.kind.read(example[KEYS[key].name])


def test_every_variable_is_documented_and_nothing_else() -> None:
    rows = re.findall(r"^\| `(MUX_[A-Z_]+)` \| (.+?) \| (.+?) \|$", PAGE, flags=re.MULTILINE)
    assert rows == [
        (name, f"`{'.'.join(variable.overrides)}`" if variable.overrides else "no key", variable.doc)
        for name, variable in VARIABLES.items()
    ]


def test_reserved_names_are_all_named() -> None:
    assert all(name in DOCUMENTED["project.name"].facts["Allowed"] for name in RESERVED_PROJECT_NAMES)
    assert all(f"`{name}`" in DOCUMENTED["project.environment"].facts["Effect"] for name in RESERVED_VARIABLES)


def test_the_pieces_of_the_how_to_are_parts_of_a_file_that_loads() -> None:
    pieces = re.findall(r"```toml\n(.*?)```", HOW_TO, flags=re.DOTALL)
    projects = "".join(piece for piece in pieces if "[[project]]" in piece)
    # A piece without a table is about the project before it.
    of_projects = [piece for piece in pieces if "[" not in piece.splitlines()[0]]
    tables = [piece for piece in pieces if piece not in of_projects and "[[project]]" not in piece]
    assert (len(of_projects), len(tables)) == (1, 4)
    base = tomllib.loads(VALID)
    for piece in tables:
        replaced = tomllib.loads(piece)
        rest = {**base, **replaced}
        text = "".join(f"[{table}]\n{fields(rest[table])}" for table in TABLES if table in rest and table != "project")
        file = parse(text + projects + of_projects[0], base=Path("/event"), environ={}, files=False)
        names = ["intro", "deep-dive", "dashboard", "trends", "collect", "analyse"]
        assert [project.name for project in file.projects] == names


def fields(table: dict[str, object]) -> str:
    return "".join(f"{name} = {toml(value)}\n" for name, value in table.items())
