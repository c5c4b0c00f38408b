from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from mux.config import load, parse, starter_files, template
from mux.config.schema import TABLES, EventFile
from mux.config.tables import Table
from mux.config.template import toml, written
from tests.config.files import event_directory

BASE = Path("/event")


def test_the_template_loads_as_it_is(tmp_path: Path) -> None:
    event_directory(tmp_path)
    file = load(tmp_path / "event.toml", {})
    assert file.event.name == "my-workshop"
    assert file.fleet.ships_wanted == 2


def test_the_template_has_every_key_once_under_its_table() -> None:
    tables: dict[str, list[str]] = {}
    for line in template().splitlines():
        if header := re.fullmatch(r"\[\[?([a-z0-9]+)\]\]?", line):
            tables[header[1]] = []
        elif key := re.fullmatch(r"(?:# )?([a-z_]+) = .+", line):
            tables[next(reversed(tables))].append(key[1])
    assert tables == {table: [entry.name for entry in model.entries()] for table, model in TABLES.items()}


def test_lines_that_are_commented_out_change_nothing_but_what_has_no_default() -> None:
    uncommented = re.sub(r"^# ([a-z_]+ = )", r"\1", template(), flags=re.MULTILINE)
    plain = parse(template(), base=BASE, environ={}, files=False)
    full = parse(uncommented, base=BASE, environ={}, files=False)
    differing = {
        f"{table}.{entry.name}"
        for table, model in TABLES.items()
        for entry in model.entries()
        if _table(plain, table).value(entry) != _table(full, table).value(entry)
    }
    without_default = {
        f"{table}.{entry.name}" for table, model in TABLES.items() for entry in model.entries() if entry.default is None
    }
    required = {
        f"{table}.{entry.name}" for table, model in TABLES.items() for entry in model.entries() if entry.required
    }
    assert differing == without_default - required


def _table(file: EventFile, name: str) -> Table:
    table = file.projects[0] if name == "project" else getattr(file, name)
    assert isinstance(table, Table)
    return table


def test_the_template_takes_names_and_sizes() -> None:
    text = template(
        name="camp", title='"Camp" \\ 2026', project="deep-dive", image="images/x", attendees=40, seats_per_ship=8
    )
    file = parse(text, base=BASE, environ={}, files=False)
    assert file.event.title == '"Camp" \\ 2026'
    assert file.projects[0].shown_title == "Deep dive"
    assert file.fleet.ships_wanted == 5


def test_every_line_is_short_enough_to_read() -> None:
    assert max(map(len, template().splitlines())) <= 110


@pytest.mark.parametrize("table", TABLES)
def test_examples_are_allowed(table: str) -> None:
    for entry in TABLES[table].entries():
        entry.said.kind.read(entry.said.example)


@pytest.mark.parametrize("table", TABLES)
def test_defaults_are_what_the_file_could_say_too(table: str) -> None:
    for entry in TABLES[table].entries():
        if not entry.required and entry.default is not None:
            assert entry.said.kind.read(tomllib.loads(f"x = {written(entry, entry.default)}")["x"]) == entry.default


def test_values_are_written_as_toml_reads_them() -> None:
    value = {"text": 'a"\\\n\x7f é', "list": ["a", 1, 2.5, True], "table": {"A": "b"}}
    assert tomllib.loads("x = " + toml(value))["x"] == value


def test_starter_files_stay_below_their_directory() -> None:
    assert all(not path.is_absolute() and ".." not in path.parts for path in starter_files())
