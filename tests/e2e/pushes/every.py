"""Every row of the table: which is measured with which images."""

from __future__ import annotations

from tests.e2e.pushes.cases import CASES
from tests.e2e.pushes.images import LAB, LIGHT, PROCESS, ROOM
from tests.e2e.pushes.whens import OF_KILLS, UNMEASURED

__all__ = ["CASES", "KINDS"]

OF_REGISTRIES = (
    "its layer is lost in the registry",
    "its manifest is gone when ships pull it",
    "the login has ended when ships pull it",
    "a tag that is not there",
    "for another platform",
    "larger than a ship's disk",
    "the registry is away",
    "the registry dies in the middle of the pulls, and comes back",
    "mux is killed while ships pull",
)
"""What cannot happen to images that are directories."""
OF_DIRECTORIES = ("a directory that is not there",)
KINDS = {
    LIGHT: tuple(what for what in CASES if what not in (*OF_DIRECTORIES, *UNMEASURED)),
    LAB: ("a good image", "`mux rollout rollback`", "its hook fails"),
    ROOM: ("its hook fails", "a good image"),
    PROCESS: tuple(what for what in CASES if what not in (*OF_REGISTRIES, *OF_KILLS)),
}
