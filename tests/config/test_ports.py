"""Further ports and shared directories of a project, as an event file gives them."""

from __future__ import annotations

import pytest

from mux.config import ports_per_ship, to_spec
from mux.config.diff import differences
from mux.config.faults import ConfigError, Refused
from mux.config.port_kinds import named_ports, names
from mux.core.model import PortName, ProjectName
from ship_agent.protocol import messages
from tests.config.files import VALID, changed, parsed

DIGESTS = {ProjectName("intro"): "sha256:" + "a" * 64, ProjectName("streaming"): "sha256:" + "b" * 64}


def with_project(more: str) -> str:
    return changed('name = "intro"', f'name = "intro"\n{more}')


def faults_in(text: str) -> set[str]:
    with pytest.raises(ConfigError) as wrong:
        parsed(text)
    return {fault.key for fault in wrong.value.faults}


def test_what_the_file_says_reaches_the_core() -> None:
    more = 'ports = {dash = 8787, board-2 = 6006}\nports_with_prefix = ["dash"]\nshared = ["data"]'
    intro = to_spec(parsed(with_project(more)), DIGESTS).projects[0]
    assert intro.ports == {PortName("dash"): 8787, PortName("board-2"): 6006}
    assert (intro.ports_with_prefix, intro.shared) == (("dash",), ("data",))


@pytest.mark.parametrize(
    "value",
    [
        {"Dash": 1},
        {"": 1},
        {"..": 1},
        {"a/b": 1},
        {"-a": 1},
        {"a" * 32: 1},
        {"a": 0},
        {"a": 65536},
        {"a": True},
        {"a": "1"},
        [8787],
        8787,
        {f"p{number}": number + 1 for number in range(9)},
    ],
)
def test_other_ports_are_refused(value: object) -> None:
    with pytest.raises(Refused):
        named_ports().read(value)


@pytest.mark.parametrize("value", ["data", ["../data"], ["a/b"], ["."], [""], [1], ["Data"], list("abcdefghi")])
def test_other_names_are_refused(value: object) -> None:
    with pytest.raises(Refused):
        names(8).read(value)


def test_bounds_are_the_protocols() -> None:
    named_ports().read({f"p{number}": number + 1 for number in range(messages.PORTS_MAX)})
    names(messages.SHARED_MAX).read([f"s{number}" for number in range(messages.SHARED_MAX)])


@pytest.mark.parametrize(
    ("more", "key"),
    [
        ("ports = {dash = 8888}", "project[0].ports.dash"),
        ("ports = {one = 8787, two = 8787}", "project[0].ports.two"),
        ('ports = {dash = 8787}\nports_with_prefix = ["board"]', "project[0].ports_with_prefix[0]"),
    ],
)
def test_a_port_has_one_name_and_what_is_said_of_it_names_it(more: str, key: str) -> None:
    assert faults_in(with_project(more)) == {key}


def test_each_port_needs_room_in_the_ships_range() -> None:
    plain, more = parsed(VALID), parsed(with_project("ports = {dash = 8787, board = 6006}"))
    assert ports_per_ship(more) - ports_per_ship(plain) == 2 * 2 * plain.fleet.seats_per_ship


def test_a_change_of_ports_is_told_with_its_numbers_and_what_it_does() -> None:
    before = parsed(with_project("ports = {dash = 8787}"))
    after = parsed(with_project('ports = {dash = 8788}\nports_with_prefix = ["dash"]'))
    said = {change.key: change for change in differences(before, after)}
    assert said["project[intro].ports"].before == "{dash = 8787}"
    assert said["project[intro].ports"].after == "{dash = 8788}"
    assert "bound workspaces get it at their next start" in said["project[intro].ports"].effect
    assert said["project[intro].ports_with_prefix"].effect == "takes effect at once"
