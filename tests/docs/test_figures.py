"""Pages with figures show what the committed data says; those of kills and pushes are held beside their tables."""

from __future__ import annotations

import json
from typing import Any

from bench.proxy import page as proxy
from bench.room import page as room
from tests.docker_engine import ROOT
from tests.e2e.partition import table as partitions

RESULTS = ROOT / "bench" / "results"


def read(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((RESULTS / name).read_text("utf-8"))
    return found


def between(page: str, begin: str, end: str) -> str:
    assert begin in page
    return page.partition(begin)[2].partition(end)[0].removeprefix("\n")


def test_the_page_of_the_data_plane_is_what_was_measured() -> None:
    assert proxy.PAGE.read_text("utf-8") == proxy.page(read("proxy.json"), read("profile.json"))


def test_the_page_of_a_full_room_is_what_was_measured() -> None:
    shown = between(room.PAGE.read_text("utf-8"), room.BEGIN, room.END)
    assert shown == room.shown(read("room.json"))


def test_the_page_of_ships_cut_off_is_what_was_measured() -> None:
    shown = between(partitions.PAGE.read_text("utf-8"), partitions.BEGIN, partitions.END)
    assert shown == partitions.shown()
