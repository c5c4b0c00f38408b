"""Every command that a page tells one to type is one that the program has, with such options and as many words."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from mux.cli.app import app

ROOT = Path(__file__).parents[2]
PAGES = sorted([*(ROOT / "docs").rglob("*.md"), ROOT / "README.md", ROOT / "deploy" / "README.md"])
QUOTED = re.compile(r"`(mux [^`\n]+)`")
BLOCK = re.compile(r"^ *```sh\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
LINE = re.compile(r"^ *(?:\S*/)?(mux [^#|>\n]+)", re.MULTILINE)
WHOLE = ROOT / "docs" / "how-to" / "run-an-event.md"
"""Whose commands stand there as they are typed; elsewhere they are named, too."""


def typed(page: Path) -> list[str]:
    """The commands of a page, as they are typed; those with something left out or to be chosen are not."""
    text = page.read_text(encoding="utf-8")
    lines = [line for block in BLOCK.findall(text) for line in LINE.findall(block)]
    found = [command.strip() for command in QUOTED.findall(text) + lines]
    return [command for command in found if not re.search(r"[…\[]|\b[A-Z]+\|", command)]


ROOT_COMMAND: Any = get_command(app)


def understood(words: list[str]) -> tuple[Any, list[str]]:
    """The command that a line names, and its arguments; fails on a word or an option that is not known."""
    command = ROOT_COMMAND
    arguments: list[str] = []
    known = {name: option for option in command.params for name in option.opts}
    rest = list(words[1:])
    while rest:
        word = rest.pop(0)
        if word.startswith("--"):
            name, _, value = word.partition("=")
            assert name in known, f"{name} is no option of {command.name}"
            if not (value or known[name].is_flag):
                rest = rest[1:]  # a bare name of an option is told without its value
        elif children := getattr(command, "commands", None):
            assert word in children, f"{word} is no command of {command.name}"
            command = children[word]
            known |= {name: option for option in command.params for name in option.opts}
        else:
            arguments.append(word)
    return command, arguments


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_of_a_page_is_one_that_there_is(page: Path) -> None:
    for line in typed(page):
        command, arguments = understood(shlex.split(line))
        takes = [each for each in command.params if each.param_type_name == "argument"]
        assert any(each.nargs < 0 for each in takes) or len(arguments) <= len(takes), line
        if page == WHOLE:
            assert not getattr(command, "commands", None), f"{line}: of what?"
            assert len(arguments) >= sum(each.required for each in takes), line


def test_the_page_of_an_event_has_its_commands() -> None:
    assert len(typed(WHOLE)) >= 30
