from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mux.config import ConfigError, resolve_images
from mux.config.images import directory_digest
from ship_agent.protocol.digest import tree_digest
from ship_agent.runtimes.tree import walk
from tests.config.files import VALID, changed, event_directory, parsed


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """An image with everything that may be in one, and what is passed over."""
    root = tmp_path / "image"
    (root / "home" / "deep" / "empty").mkdir(parents=True)
    (root / "home" / "a.ipynb").write_text("{}", encoding="utf-8")
    (root / "home" / "large.bin").write_bytes(os.urandom((2 << 20) + 5))
    (root / "home" / "é ü.txt").write_text("names", encoding="utf-8")
    (root / "home" / "run.sh").write_text("#!/bin/sh\n", encoding="utf-8")
    (root / "home" / "run.sh").chmod(0o755)
    (root / "home" / "link").symlink_to("a.ipynb")
    (root / "home" / "deep" / "up").symlink_to("../a.ipynb")
    os.symlink(".//a.ipynb", root / "home" / "odd")  # noqa: PTH211 - Path would normalise it
    (root / "home" / "dangling").symlink_to("nothing")
    (root / "home" / "__pycache__").mkdir()
    (root / "home" / "__pycache__" / "x.pyc").write_bytes(b"x")
    (root / "home" / "a.ipynb~").write_bytes(b"x")
    if sys.platform == "linux":
        Path(os.fsdecode(os.fsencode(root / "home") + b"/\xff.bin")).write_bytes(b"not UTF-8")
    return root


def test_the_mux_and_the_ship_give_one_digest(tree: Path) -> None:
    assert directory_digest(tree) == tree_digest(walk(tree))
    assert directory_digest(tree / "home" / "deep" / "empty") == tree_digest([])


@pytest.mark.parametrize(
    "change",
    [
        lambda home: (home / "a.ipynb").write_text("{ }"),
        lambda home: (home / "run.sh").chmod(0o644),
        lambda home: (home / "new").mkdir(),
        lambda home: (home / "run.sh").rename(home / "walk.sh"),
        lambda home: (home / "dangling").unlink(),
    ],
)
def test_the_digest_changes_with_the_content(tree: Path, change: Callable[[Path], object]) -> None:
    before = directory_digest(tree)
    change(tree / "home")
    assert directory_digest(tree) != before
    assert directory_digest(tree) == tree_digest(walk(tree))


def test_the_digest_does_not_change_with_times_or_what_programs_leave_behind(tree: Path) -> None:
    before = directory_digest(tree)
    os.utime(tree / "home" / "a.ipynb", (1, 1))
    (tree / "home" / ".ipynb_checkpoints").mkdir()
    (tree / "home" / "a.ipynb").chmod(0o600)
    assert directory_digest(tree) == before


async def test_each_project_is_resolved(tmp_path: Path) -> None:
    event_directory(tmp_path)
    digests = await resolve_images(parsed(VALID), tmp_path)
    digest = directory_digest(tmp_path / "images" / "intro")
    assert digests == {"intro": digest, "streaming": digest}


async def test_every_unfit_image_is_reported_with_the_place(tmp_path: Path) -> None:
    event_directory(tmp_path)
    os.mkfifo(tmp_path / "images" / "intro" / "home" / "pipe")
    text = changed('"images/intro"', '"images/none"')
    with pytest.raises(ConfigError) as refused:
        await resolve_images(parsed(text), tmp_path)
    assert [(fault.key, fault.found) for fault in refused.value.faults] == [
        ("project[0].image", '"images/none", which is no directory'),
        ("project[1].image", '"images/intro", where "home/pipe" is neither file, directory nor link'),
    ]


async def test_a_link_out_of_the_image_is_refused_and_not_followed(tmp_path: Path) -> None:
    event_directory(tmp_path)
    (tmp_path / "images" / "intro" / "home" / "out").symlink_to("/etc/hostname")
    with pytest.raises(ConfigError, match="a link that may lead out of it"):
        await resolve_images(parsed(VALID), tmp_path)


async def test_a_tree_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mux.config.images.TREE_ENTRIES_MAX", 3)
    event_directory(tmp_path)
    for number in range(4):
        (tmp_path / "images" / "intro" / "home" / f"{number}").mkdir()
    with pytest.raises(ConfigError, match="more than 3 entries"):
        await resolve_images(parsed(VALID), tmp_path)
