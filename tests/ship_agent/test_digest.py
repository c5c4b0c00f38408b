"""The digest of a directory image: what counts, what does not, and what is refused."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mux.config.images import directory_digest
from ship_agent.protocol.digest import TreeEntry, is_ignored, link_leaves_tree, tree_digest
from ship_agent.runtimes import tree
from ship_agent.runtimes.tree import TreeError, walk
from tests.ship_agent.images import make_image

ENTRIES = st.builds(
    TreeEntry,
    path=st.text(min_size=1, max_size=4),
    kind=st.sampled_from(["dir", "file", "link"]),
    executable=st.booleans(),
    target=st.text(max_size=3),
    content=st.text("0123456789abcdef", max_size=3),
)


def _counts(entry: TreeEntry) -> tuple[object, ...]:
    return entry.path, entry.kind, entry.kind == "file" and entry.executable, entry.target, entry.content


@given(st.lists(ENTRIES, unique_by=lambda entry: entry.path), st.lists(ENTRIES, unique_by=lambda entry: entry.path))
def test_two_trees_have_one_digest_only_if_they_are_the_same(one: list[TreeEntry], other: list[TreeEntry]) -> None:
    same = set(map(_counts, one)) == set(map(_counts, other))

    assert (tree_digest(one) == tree_digest(other)) == same


@given(st.lists(ENTRIES, unique_by=lambda entry: entry.path))
def test_the_order_of_entries_does_not_matter(entries: list[TreeEntry]) -> None:
    assert tree_digest(entries) == tree_digest(reversed(entries))


def test_the_digest_stays_what_it_was() -> None:
    """A digest is stored with the event: another encoding would make every image "changed"."""
    entries = [
        TreeEntry("home", "dir"),
        TreeEntry("home/run", "file", executable=True, content="ab" * 32),
        TreeEntry("home/last", "link", target="run"),
    ]

    assert tree_digest(entries) == "sha256:06c3d5d3b8b74b165f6a99f65189643f2f0b9dc86c93dc38cbf6decaa91b4811"


@pytest.mark.parametrize(
    "name", ["__pycache__", ".git", ".ipynb_checkpoints", ".x.py.swp", "x.py~", ".#x", ".DS_Store"]
)
def test_what_programs_leave_behind_is_no_part_of_an_image(tmp_path: Path, name: str) -> None:
    image = make_image(tmp_path / "image")
    before = tree_digest(walk(image))

    (image / "home" / name).mkdir()
    (image / "home" / name / "file").write_text("left behind")

    assert is_ignored(name)
    assert tree_digest(walk(image)) == before


def test_content_and_the_executable_bit_count_times_and_other_permissions_do_not(tmp_path: Path) -> None:
    image = make_image(tmp_path / "image")
    notes = image / "home/notes.txt"
    before = tree_digest(walk(image))

    notes.chmod(0o600)
    os.utime(notes, (1, 1))
    assert tree_digest(walk(image)) == before
    notes.chmod(0o700)
    executable = tree_digest(walk(image))
    notes.write_text("other")

    assert len({before, executable, tree_digest(walk(image))}) == 3


@pytest.mark.parametrize(
    ("path", "target", "leaves"),
    [
        ("link", "file", False),
        ("a/b/link", "../../file", False),
        ("a/b/link", "./../c/file", False),
        ("link", "", True),
        ("link", "/etc/passwd", True),
        ("link", "..", True),
        ("a/link", "../../file", True),
        ("a/b/link", "c/../../../file", True),
        ("a/b/link", "c/..", True),
    ],
)
def test_a_link_stays_in_the_tree_or_is_refused(tmp_path: Path, path: str, target: str, leaves: bool) -> None:
    assert link_leaves_tree(path, target) is leaves


def test_the_walk_refuses_what_a_copy_would_not_hold(tmp_path: Path) -> None:
    leaving, special = tmp_path / "leaving", tmp_path / "special"
    leaving.mkdir()
    special.mkdir()
    (leaving / "link").symlink_to("../secret")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(special / "socket"))

    with pytest.raises(TreeError, match="leads out"):
        walk(leaving)
    with pytest.raises(TreeError, match="neither file"):
        walk(special)


def test_names_that_are_not_utf8_and_empty_directories_count(tmp_path: Path) -> None:
    empty = tree_digest(walk(tmp_path))
    (tmp_path / "folder").mkdir()
    folder = tree_digest(walk(tmp_path))
    (tmp_path / os.fsdecode(b"\xff")).touch()

    assert len({empty, folder, tree_digest(walk(tmp_path))}) == 3


def test_mux_and_ship_compute_the_same_digest_of_the_same_directory(tmp_path: Path) -> None:
    image = make_image(tmp_path / "image", hooks={"10.sh": "echo", "20": "#!/bin/sh\n"})
    (image / "home/empty").mkdir()
    (image / "home/notes").symlink_to("notes.txt")
    (image / "home" / os.fsdecode(b"\xff")).touch()
    (image / "home/__pycache__").mkdir()

    assert directory_digest(image) == tree_digest(walk(image))


def test_a_tree_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree, "TREE_ENTRIES_MAX", 2)
    for name in ("a", "b", "c"):
        (tmp_path / name).touch()

    with pytest.raises(TreeError, match="more than 2"):
        walk(tmp_path)
