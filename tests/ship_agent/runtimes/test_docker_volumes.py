"""Volumes that an image wants below its home: directories of the home, and never a way out of it."""

from __future__ import annotations

from pathlib import Path

from ship_agent.runtimes.docker_volumes import directories

INSIDE = "/home/jovyan"


def test_each_is_a_directory_of_the_home_made_if_it_is_missing(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir(mode=0o700)
    found = directories(tmp_path, INSIDE, [f"{INSIDE}/work", f"{INSIDE}/data/raw"])
    assert found == {f"{INSIDE}/work": f"{tmp_path}/work", f"{INSIDE}/data/raw": f"{tmp_path}/data/raw"}
    assert (tmp_path / "data/raw").stat().st_uid == tmp_path.stat().st_uid
    assert (tmp_path / "work").stat().st_mode & 0o777 == 0o700


def test_a_link_on_the_way_is_not_followed(tmp_path: Path) -> None:
    home, outside = tmp_path / "home", tmp_path / "outside"
    home.mkdir()
    (outside / "raw").mkdir(parents=True)
    (home / "work").symlink_to(outside)
    (home / "data").symlink_to(outside)
    (home / "gone").symlink_to(tmp_path / "nowhere")
    (home / "file").write_text("x")
    names = ("work", "data/raw", "data/new", "gone", "gone/x", "file", "file/x")
    assert directories(home, INSIDE, [f"{INSIDE}/{name}" for name in names]) == {}
    assert [path.name for path in outside.iterdir()] == ["raw"]
    assert not (tmp_path / "nowhere").exists()
