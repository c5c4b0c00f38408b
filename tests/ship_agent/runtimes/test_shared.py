"""Shared directories on disk: what a workspace may have put in the way leads nowhere else."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from pydantic import ValidationError

from ship_agent.runtimes.base import RuntimeFailure, WorkspaceSpec
from ship_agent.runtimes.shared import SharedDirectories
from tests.ship_agent.images import project_with
from tests.ship_agent.protocol.samples import DIGEST


def spec(name: str = "w1", shared: str = "s1", names: tuple[str, ...] = ("data",)) -> WorkspaceSpec:
    project = project_with({"image": "x", "digest": DIGEST, "command": [], "shared": list(names)})
    return WorkspaceSpec(name, 0, project, DIGEST, 1, "token", shared=shared)


def here(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "shared").iterdir())


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


def test_a_link_that_was_bent_leads_to_the_directory_again(tmp_path: Path, home: Path) -> None:
    shared = SharedDirectories(tmp_path / "shared")
    (home / "shared-data").symlink_to("/etc")
    given = shared.give(spec(), home)
    assert (home / "shared-data").resolve() == Path(given["data"]) == tmp_path / "shared/s1/data"
    assert [path.name for path in (tmp_path / "shared/s1").iterdir()] == ["data"]


def test_what_else_bears_the_links_name_is_left_alone(tmp_path: Path, home: Path) -> None:
    (home / "shared-data").write_text("my own")
    SharedDirectories(tmp_path / "shared").give(spec(), home, "/shared")
    assert (home / "shared-data").read_text() == "my own"


def test_a_home_that_takes_no_link_is_no_reason_not_to_start(tmp_path: Path) -> None:
    assert SharedDirectories(tmp_path / "shared").give(spec(), tmp_path / "gone", "/shared").keys() == {"data"}


def test_nobody_but_the_agent_gets_past_the_directories_above(tmp_path: Path, home: Path) -> None:
    SharedDirectories(tmp_path / "shared").give(spec(), home)
    modes = [(tmp_path / path).stat().st_mode & 0o777 for path in ("shared", "shared/s1", "shared/s1/data")]
    assert modes == [0o700, 0o700, 0o777]


def test_links_inside_are_not_followed_when_it_is_removed(tmp_path: Path, home: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("kept")
    shared = SharedDirectories(tmp_path / "shared")
    (Path(shared.give(spec(), home)["data"]) / "link").symlink_to(outside)
    shared.release("w1")
    assert not list((tmp_path / "shared").iterdir())
    assert (outside / "precious").read_text() == "kept"


def test_another_agent_keeps_what_is_some_workspaces_and_clears_the_rest(tmp_path: Path, home: Path) -> None:
    before = SharedDirectories(tmp_path / "shared")
    before.give(spec("w1", "s1"), home)
    before.give(spec("w2", "s2"), home)
    after = SharedDirectories(tmp_path / "shared")
    after.open({"w1": "s1", "w3": ""})
    assert here(tmp_path) == ["s1"]


@pytest.mark.parametrize("unreadable", [None, "../outside"])
def test_while_it_is_not_known_what_a_workspace_shares_nothing_goes(
    tmp_path: Path, home: Path, unreadable: str | None
) -> None:
    before = SharedDirectories(tmp_path / "shared")
    before.give(spec("w1", "s1"), home)
    before.give(spec("w2", "s2"), home)
    after = SharedDirectories(tmp_path / "shared")
    after.open({"w1": unreadable, "w2": "s2"})
    after.release("w2")
    assert here(tmp_path) == ["s1", "s2"]
    after.give(spec("w1", "s1"), home)
    after.release("w3")
    assert here(tmp_path) == ["s1"]
    after.release("w1")
    assert here(tmp_path) == []


def test_a_workspace_that_is_started_again_and_shares_nothing_keeps_nothing_of_others(
    tmp_path: Path, home: Path
) -> None:
    SharedDirectories(tmp_path / "shared").give(spec("w1", "s1"), home)
    after = SharedDirectories(tmp_path / "shared")
    after.open({"w2": None})
    after.give(spec("w2", ""), home)
    after.release("w2")
    assert here(tmp_path) == []


def test_what_could_not_be_deleted_is_deleted_when_asked_again(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = SharedDirectories(tmp_path / "shared")
    (Path(shared.give(spec(), home)["data"]) / "found.txt").write_text("of w1")

    def fails(path: Path) -> None:
        if path.exists():
            raise OSError(errno.EBUSY, "Device or resource busy")

    with monkeypatch.context() as patched:
        patched.setattr("ship_agent.runtimes.shared.remove_tree", fails)
        with pytest.raises(RuntimeFailure):
            shared.release("w1")
    assert not list((Path(shared.give(spec("w2"), home)["data"])).iterdir())
    shared.release("w1")
    assert here(tmp_path) == ["s1"]
    shared.release("w2")
    assert here(tmp_path) == []


def test_a_directory_is_vacant_until_it_is_claimed_and_another_agent_knows(tmp_path: Path, home: Path) -> None:
    before = SharedDirectories(tmp_path / "shared")
    first, second = spec("w1", names=("data",)), spec("w2", names=("data", "more"))
    before.give(first, home)
    assert before.vacant(first) == {"data": tmp_path / "shared/s1/data"}
    assert before.bound("s1") == {}
    before.claim(first)
    assert before.bound("s1") == {"data": tmp_path / "shared/s1/data"}
    after = SharedDirectories(tmp_path / "shared")
    after.open({"w1": "s1", "w2": "s1"})
    assert after.vacant(second) == {"more": tmp_path / "shared/s1/more"}
    assert after.bound("s1").keys() == {"data"}
    after.claim(second)
    assert after.bound("s1").keys() == {"data", "more"}


def test_a_directory_that_is_made_before_its_workspace_is_not_cleared_with_another_one(tmp_path: Path) -> None:
    shared = SharedDirectories(tmp_path / "shared")
    place = shared.vacant(spec("w1", "s1"))["data"]
    shared.claim(spec("w2", "s2"))
    shared.release("w2")
    assert place.is_dir()
    assert shared.bound("s2") == {}


def test_a_workspace_that_shares_nothing_claims_nothing(tmp_path: Path) -> None:
    shared = SharedDirectories(tmp_path / "shared")
    shared.claim(spec(shared=""))
    assert shared.vacant(spec(shared="")) == {}
    assert not (tmp_path / "shared").exists()


@pytest.mark.parametrize("name", ["..", "../x", "a/b", "", "/etc", "-x", "A"])
def test_a_name_that_leads_elsewhere_is_no_message(name: str) -> None:
    with pytest.raises(ValidationError):
        spec(names=(name,))
