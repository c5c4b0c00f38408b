"""What was confirmed and kept in S3 is there on the next seat, whatever S3 does meanwhile, and people are told.

A ship is killed with all that runs on it: what it had not sent is gone. S3 denies, is slow, cuts connections, thinks
that the time is another one, or is away, while snapshots go there and while they come back.
"""

from __future__ import annotations

import asyncio
import zipfile

import pytest

from mux.web.camp_view import UNKEPT_TEXT
from ship_agent.protocol.snapshot import FILE_BYTES_MAX
from tests.docker_engine import Engine
from tests.e2e.harness import LOOK_S, kill
from tests.e2e.kills.attendee import FILE, Attendee
from tests.e2e.lost.house import MOVED_S_MAX, NAME, SHARED_FILE, first_answer
from tests.e2e.s3.house import S3House, open_s3_house
from tests.fakes.s3 import Fault
from tests.images.conftest import build

pytestmark = [pytest.mark.timeout(900)]


async def saved(attendee: Attendee, file: str = FILE) -> int:
    """The number of a save that Jupyter has confirmed."""
    attendee.file = file
    async with asyncio.timeout(MOVED_S_MAX):
        while not await attendee.saves():
            await asyncio.sleep(LOOK_S)
    return attendee.seen.saved


async def lose(house: S3House) -> str:
    """Kill the attendee's ship, and say that it is lost."""
    lost = await house.ship_of_the_attendee()
    await house.kill_ship(lost)
    await house.run("ship", "lost", lost, "--yes")
    return lost


async def test_what_is_in_the_bucket_is_on_the_next_seat_though_s3_goes_away_in_the_middle(moto_server: str) -> None:
    async with open_s3_house(moto_server) as (house, attendee):
        house.s3.fault, house.s3.after = "deny", 1  # in the middle of a snapshot
        home = await saved(attendee)
        shared = await saved(attendee, SHARED_FILE)
        assert await house.in_the_bucket(FILE) != str(home)
        house.s3.fault = ""
        await house.until_in_the_bucket(FILE, str(home))
        await house.until_in_the_bucket(SHARED_FILE, str(shared))

        house.s3.after = 1  # in the middle of a restore
        house.s3.fault = "reset"
        lost = await lose(house)
        await house.until_moved(lost)
        before = len(house.s3.cut)
        async with asyncio.timeout(MOVED_S_MAX):
            while len(house.s3.cut) < before + 3:
                attendee.file = FILE
                assert not await attendee.answers(), "nobody is led to files that are not there"
                await asyncio.sleep(LOOK_S)
        house.s3.fault = ""
        for file, number in ((SHARED_FILE, shared), (FILE, home)):
            attendee.file = file
            assert await first_answer(attendee) == number


FAULTS: tuple[tuple[Fault, str], ...] = (
    ("deny", "AccessDenied"),
    ("skewed", "RequestTimeTooSkewed"),
    ("reset", "S3 does not answer"),
)
"""What S3 does, and what organizers read of it."""


@pytest.mark.long
async def test_what_s3_does_is_told_and_costs_nothing_that_was_saved(moto_server: str) -> None:
    async with open_s3_house(moto_server) as (house, attendee):
        for fault, words in FAULTS:
            house.s3.fault = fault
            number = await saved(attendee)
            await house.until_told(words)
            assert UNKEPT_TEXT in await attendee.reads("/camp/")
            assert await house.in_the_bucket(FILE) != str(number)
            house.s3.fault = ""
            await house.until_in_the_bucket(FILE, str(number))
            await house.until_told("again")
            assert UNKEPT_TEXT not in await attendee.reads("/camp/")
        told = len(await house.told())

        house.s3.fault = "slow"
        number = await saved(attendee)
        await house.until_in_the_bucket(FILE, str(number))
        house.s3.fault = ""
        assert len(await house.told()) == told, "who is slow keeps what is brought"

        await house.s3.go()
        number = await saved(attendee)
        await house.until_told("S3 does not answer")
        await kill(house.processes_of("mux.daemon run"))
        assert await saved(attendee) > number, "proxies and ships go on without mux and S3"
        await house.s3.come()
        await house.reachable()
        await house.linked()
        number = await saved(attendee)
        await house.until_in_the_bucket(FILE, str(number))

        await house.s3.go()
        await house.until_moved(await lose(house))
        async with asyncio.timeout(MOVED_S_MAX):
            while "Your files cannot be had at the moment." not in await attendee.reads("/camp/"):
                await asyncio.sleep(LOOK_S)
        house.s3.fault = "slow"
        await house.s3.come()
        assert await first_answer(attendee) == number


@pytest.mark.long
async def test_a_notebook_server_finds_its_files_from_the_bucket(moto_server: str) -> None:
    async with open_s3_house(moto_server, light=False) as (house, attendee):
        number = await saved(attendee)
        await house.until_in_the_bucket(FILE, str(number))
        with (await house.home() / "too large.bin").open("wb") as file:
            file.truncate(FILE_BYTES_MAX + 1)
        async with asyncio.timeout(MOVED_S_MAX):
            while "“too large.bin” is larger than 256 MB" not in await attendee.reads("/camp/live/intro"):
                await asyncio.sleep(LOOK_S)
        assert "“too large.bin” is larger than 256 MB" in await attendee.reads("/files/intro")
        lost = await lose(house)
        await house.until_moved(lost)
        assert await first_answer(attendee) == number


@pytest.mark.long
async def test_work_in_a_container_goes_by_the_bucket_to_another_ship_and_into_the_archive(
    moto_server: str, docker_engine: Engine
) -> None:
    async with open_s3_house(moto_server, light=False, engine=build(docker_engine)) as (house, attendee):
        numbers = {file: await saved(attendee, file) for file in (FILE, SHARED_FILE)}
        for file, number in numbers.items():
            await house.until_in_the_bucket(file, str(number))
        lost = await lose(house)
        await house.until_moved(lost)
        for file, number in numbers.items():
            attendee.file = file
            assert await first_answer(attendee) == number

        number = await saved(attendee)
        await house.until_in_the_bucket(FILE, str(number))
        archive = house.directory / "all.zip"
        await house.run("files", "export", "--all", str(archive))
        with zipfile.ZipFile(archive) as work:
            assert work.read(f"{NAME}/intro/{FILE}") == str(number).encode()
            assert work.read(f"{NAME}/shared.data/{FILE}") == str(numbers[SHARED_FILE]).encode()
