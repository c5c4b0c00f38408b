"""What a pushed image stands for, by the word of a real registry."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import aiohttp
import pytest

from mux.core.model import HeldImage, ProjectName
from mux.store.base import Store
from mux.web.admin_api_deps import PushError
from mux.web.pushing import ImageAsker
from tests.registry.server import Pusher, Server, registry

INTRO = ProjectName("intro")
EVENT = """\
[event]
name = "camp"
public_address = "http://localhost:8000"
admin_address = "http://127.0.0.1:8001"

[[project]]
name = "intro"
image = "{image}"

[fleet]
runtime = "{runtime}"
attendees = 2
seats_per_ship = 1
"""


class Applied:
    """A store that knows one thing: the event file in force."""

    def __init__(self, text: str) -> None:
        self._text = text

    async def applied(self) -> str:
        return self._text


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    with registry(tmp_path / "registry") as found:
        yield found


def asker(server: Server, base: Path) -> ImageAsker:
    text = EVENT.format(image=f"{server.host}/intro:first", runtime="docker")
    # An engine that is not there: what it would say must not count.
    return ImageAsker(cast(Store, Applied(text)), base, {"DOCKER_HOST": f"unix://{base}/none.sock"})


async def test_only_what_ships_do_not_hold_yet_has_to_travel(server: Server, tmp_path: Path) -> None:
    async with aiohttp.ClientSession() as http:
        pusher = Pusher(http, f"http://{server.host}")
        first = await pusher.image("intro", "first", layers=[b"a" * 1000])
        fixed = await pusher.image("intro", "fix", layers=[b"a" * 1000, b"b"])
    image = f"{server.host}/intro:fix"
    found = await asker(server, tmp_path).resolve(INTRO, image, ())
    assert (found.image, found.digest) == (image, fixed)
    assert found.fetched_bytes is not None
    held = [
        HeldImage(INTRO, f"{server.host}/intro:first", first),
        HeldImage(INTRO, "mux/example", "sha256:" + "0" * 64),
    ]
    beside = (await asker(server, tmp_path).resolve(INTRO, image, held)).fetched_bytes
    assert beside is not None
    assert 0 < beside < found.fetched_bytes
    held.append(HeldImage(INTRO, image, fixed))
    assert (await asker(server, tmp_path).resolve(INTRO, image, held)).fetched_bytes == 0


async def test_an_image_for_another_platform_is_refused_with_what_to_do(server: Server, tmp_path: Path) -> None:
    async with aiohttp.ClientSession() as http:
        await Pusher(http, f"http://{server.host}").image("intro", "arm", architecture="arm64")
    with pytest.raises(PushError, match="is for linux/arm64; the ships are linux/amd64: build it for linux/amd64"):
        await asker(server, tmp_path).resolve(INTRO, f"{server.host}/intro:arm", ())


async def test_a_tag_that_is_not_there_is_refused(server: Server, tmp_path: Path) -> None:
    with pytest.raises(PushError, match="is not in the registry; push it, or correct its name"):
        await asker(server, tmp_path).resolve(INTRO, f"{server.host}/intro:nowhere", ())


async def test_a_registry_and_an_engine_that_are_both_away_are_told(server: Server, tmp_path: Path) -> None:
    with pytest.raises(PushError, match="cannot be reached"):
        await asker(server, tmp_path).resolve(INTRO, "127.0.0.1:1/intro:fix", ())


@pytest.mark.parametrize("image", ["intro@fix", "Intro Fix", "ann:hunter2@x/intro", "hunter2@x.org/intro:7", "-"])
async def test_what_is_no_name_of_an_image_is_refused_without_a_login_in_it(
    server: Server, tmp_path: Path, image: str
) -> None:
    with pytest.raises(PushError, match="is not the name of an image") as refused:
        await asker(server, tmp_path).resolve(INTRO, image, ())
    assert "hunter2" not in str(refused.value)


async def test_what_is_no_directory_of_an_image_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    asking = ImageAsker(cast(Store, Applied(EVENT.format(image="intro", runtime="process"))), tmp_path, {})
    for image, why in (
        ("nowhere", "no directory"), ("file", "no directory"), ("loop", "symbolic links"),
        ("empty", "no directory home/"),
        ("x" * 300, "file name too long"),
        ("nowhere", f"relative paths start at {tmp_path}"),
    ):  # fmt: skip
        with pytest.raises(PushError, match=why):
            await asking.resolve(INTRO, image, ())


async def test_of_a_directory_that_ships_do_not_hold_its_files_count_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "intro").mkdir()
    fixed = tmp_path / "fix"
    (fixed / "home" / "data").mkdir(parents=True)
    (fixed / "home" / "data" / "big.csv").write_bytes(b"1" * 70_000)
    (fixed / "home" / "intro.ipynb").write_bytes(b"2" * 5_000)
    (fixed / "home" / "again.csv").symlink_to("data/big.csv")
    asking = ImageAsker(cast(Store, Applied(EVENT.format(image="intro", runtime="process"))), tmp_path, {})
    found = await asking.resolve(INTRO, "fix", [HeldImage(INTRO, str(tmp_path / "intro"), "sha256:" + "0" * 64)])
    assert (found.image, found.fetched_bytes, found.packed) == (str(fixed), 75_000, False)
    held = [HeldImage(INTRO, str(fixed), found.digest)]
    assert (await asking.resolve(INTRO, "fix", held)).fetched_bytes == 0
