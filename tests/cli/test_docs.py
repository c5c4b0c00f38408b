"""The reference page and the tree of commands say the same."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from typer.main import get_command

from mux.cli import CLI_VARIABLES
from mux.cli import errors as exits
from mux.cli.app import GLOBAL_OPTIONS, app

PAGE = (Path(__file__).parents[2] / "docs/reference/cli.md").read_text(encoding="utf-8")


def commands(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Every command that does something, with its whole name."""
    children = getattr(command, "commands", None)
    if not children:
        yield name, command
        return
    for child_name, child in children.items():
        yield from commands(child, f"{name} {child_name}")


def signature(name: str, command: Any) -> str:
    """As a heading of the page writes it."""
    words = [name]
    for parameter in command.params:
        if parameter.param_type_name == "argument":
            metavar = parameter.metavar or parameter.name.upper()
            words.append(metavar if parameter.required else f"[{metavar.strip('[]')}]")
    return " ".join(words)


def options(command: Any) -> set[str]:
    """The options of a command itself, without ``--help``."""
    every = {name for p in command.params if p.param_type_name == "option" for name in p.opts}
    return every - {"--help"}


SECTIONS = {
    heading: set(re.findall(r"^- `(--[a-z-]+)`", body, re.MULTILINE))
    for heading, body in re.findall(r"^### `(mux [^`]+)`\n(.*?)(?=^##|\Z)", PAGE, re.MULTILINE | re.DOTALL)
}


def test_the_page_has_every_command_with_its_arguments_and_options() -> None:
    root = get_command(app)
    assert {signature(name, command): options(command) for name, command in commands(root, "mux")} == SECTIONS


def test_the_page_has_every_global_option_and_variable() -> None:
    rows = dict(re.findall(r"^\| `(--[a-z-]+)` \| (`MUX_[A-Z_]+`|) ?\|", PAGE, re.MULTILINE))
    root: Any = get_command(app)
    assert set(rows) - {"--help"} == options(root) == GLOBAL_OPTIONS | {"--version"}
    for parameter in root.params:
        wanted = f"`{parameter.envvar}`" if parameter.envvar else ""
        if parameter.opts[0] in rows:
            assert rows[parameter.opts[0]] == wanted
    assert {name for name in CLI_VARIABLES if f"`{name}" in PAGE} == CLI_VARIABLES


def test_the_page_has_every_exit_code() -> None:
    listed = {int(code) for code in re.findall(r"^\| (\d+) \|", PAGE, re.MULTILINE)}
    assert listed == {value for name, value in vars(exits).items() if name.startswith("EXIT_")}


def test_every_command_and_option_has_help() -> None:
    for name, command in commands(get_command(app), "mux"):
        assert command.help, name
        for parameter in command.params:
            if parameter.param_type_name == "option":
                assert parameter.help, f"{name} {parameter.name}"
