from __future__ import annotations

import pytest

from mux.config import differences, image_differences, secret_differences
from mux.config.diff import _EFFECTS, Change
from mux.config.schema import TABLES
from mux.core.model import ProjectName
from tests.config.files import VALID, changed, parsed

INTRO = ProjectName("intro")


def changes(new: str, old: str = VALID) -> dict[str, Change]:
    return {change.key: change for change in differences(parsed(old), parsed(new))}


def test_a_file_does_not_differ_from_itself() -> None:
    assert differences(parsed(VALID), parsed(VALID)) == []


def test_writing_a_default_out_is_no_difference() -> None:
    assert changes(changed("spare_seats = 1", 'spare_seats = 1\nboot_deadline_s = 600\nports = "20000-29999"')) == {}


def test_a_first_file_says_what_it_will_launch() -> None:
    first = differences(None, parsed(VALID))
    assert [(change.key, change.before) for change in first] == [
        ("event", ""),
        ("project[intro]", ""),
        ("project[streaming]", ""),
    ]
    assert first[0].effect == "4 ships will be launched for 7 seats"


@pytest.mark.parametrize(
    ("old", "new", "effect"),
    [
        ("attendees = 6", "attendees = 8", "1 more ship will be launched"),
        ("attendees = 6", "attendees = 12", "3 more ships will be launched"),
        ("attendees = 6", "attendees = 7", "the fleet stays at 4 ships"),
        ("attendees = 6", "attendees = 1", "3 ships will be ended once nobody has a seat there"),
    ],
)
def test_a_change_of_size_says_how_many_ships_come_or_go(old: str, new: str, effect: str) -> None:
    change = changes(changed(old, new))["fleet.attendees"]
    assert (change.before, change.effect) == ("6", effect)


def test_projects_are_compared_by_name_and_not_by_place() -> None:
    head, first, second = VALID.split("[[project]]")
    second, fleet = second.split("[fleet]")
    assert changes(f"{head}[[project]]{second}[[project]]{first}[fleet]{fleet}") == {}


def test_a_project_that_comes_or_goes_is_one_change() -> None:
    renamed = changes(changed('name = "intro"', 'name = "basics"'))
    assert set(renamed) == {"project[basics]", "project[intro]"}
    assert "destroyed" in renamed["project[intro]"].effect


def test_a_new_image_leaves_bound_workspaces_alone() -> None:
    change = changes(changed('image = "images/intro"', 'image = "images/second"'))["project[intro].image"]
    assert (change.before, change.after) == ('"images/intro"', '"images/second"')
    assert "until a push" in change.effect


def test_a_new_limit_reaches_bound_workspaces_at_their_next_start_and_says_so() -> None:
    assert "next start" in changes(changed('memory = "2GiB"', 'memory = "3GiB"'))["project[intro].memory"].effect


def test_values_are_shown_as_the_file_writes_them() -> None:
    change = changes(changed('memory = "2GiB"', 'memory = "512MiB"\nsecrets = "s.csv"'))
    assert (change["project[intro].memory"].before, change["project[intro].memory"].after) == ('"2GiB"', '"512MiB"')
    assert (change["project[intro].secrets"].before, change["project[intro].secrets"].after) == ("", '"s.csv"')


def test_values_of_variables_are_not_shown() -> None:
    change = changes(changed('LEVEL = "three"', 'LEVEL = "hunter", MORE = "x"'))["project[streaming].environment"]
    assert (change.before, change.after) == ("COURSE, LEVEL", "COURSE, LEVEL, MORE")
    only_value = changes(changed('LEVEL = "three"', 'LEVEL = "hunter"'))
    assert list(only_value) == ["project[streaming].environment"]
    assert "hunter" not in str(only_value)


def test_every_key_that_can_differ_has_a_true_effect() -> None:
    keys = {f"{table}.{entry.name}" for table, model in TABLES.items() for entry in model.entries()}
    assert set(_EFFECTS) <= keys
    listeners = changes(VALID + '[listen]\ncontrol = "127.0.0.1:9002"\n')
    assert "started again" in listeners["listen.control"].effect


def test_an_image_whose_content_differs_is_a_change_though_the_file_is_the_same() -> None:
    old = {INTRO: "sha256:" + "a" * 64, ProjectName("gone"): "sha256:" + "c" * 64}
    new = {INTRO: "sha256:" + "b" * 64, ProjectName("new"): "sha256:" + "d" * 64}
    assert [change.key for change in image_differences(old, new)] == ["project[intro].image"]
    assert image_differences(old, old) == []


def test_secrets_that_differ_are_counted_and_not_shown() -> None:
    old = {INTRO: {"*": {"KEY": "hunter"}}}
    new = {INTRO: {"*": {"KEY": "hunter2"}, "ada": {"KEY": "x"}}, ProjectName("b"): {"*": {"K": "v"}}}
    found = secret_differences(old, new)
    assert [(change.key, change.before, change.after) for change in found] == [
        ("project[b].secrets", "", "1 row"),
        ("project[intro].secrets", "1 row", "2 rows"),
    ]
    assert "hunter" not in str(found)
    assert secret_differences(old, old) == []
