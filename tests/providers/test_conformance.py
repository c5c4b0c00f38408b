"""What every provider does, whatever makes its machines."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from mux.core.model import Machine, MachineStatus, ShipId
from mux.providers.base import Provider, ProviderError
from tests.providers.backends import Backend, LocalBackend, order
from tests.providers.ec2_backends import fake_backend, moto_backend

SHIP = ShipId("ship-0001")
OTHER = ShipId("ship-0002")


@pytest.fixture(scope="module")
def moto_server() -> Iterator[str]:
    """The address of moto's server."""
    from moto.server import ThreadedMotoServer  # only where it is used: its import takes a second

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(
    params=["local", "ec2 on the strict fake", pytest.param("ec2 on moto", marks=pytest.mark.long)],
)
async def backend(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Backend]:
    match request.param:
        case "local":
            made = LocalBackend(tmp_path / "ships")
            yield made
            await made.clean_up()
        case "ec2 on the strict fake":
            async with fake_backend() as strict:
                yield strict
        case _:
            async with moto_backend(request.getfixturevalue("moto_server")) as moto:
                yield moto


async def told(provider: Provider, ship: ShipId) -> Machine:
    """What the listing says of a ship, once it says where it is: a cloud's listing lags behind."""
    while True:
        machine = (await provider.list()).get(ship)
        if machine is not None and machine.host:
            return machine
        await asyncio.sleep(0.01)


def ports(machine: Machine) -> tuple[int, int]:
    return machine.port_first, machine.port_count


async def test_a_launched_machine_is_listed_with_host_and_ports(backend: Backend) -> None:
    provider = backend.provider()
    await provider.open()
    machine = await provider.launch(order(SHIP))
    assert machine.ship == SHIP
    listed = await told(provider, SHIP)
    assert listed.status in (MachineStatus.PENDING, MachineStatus.RUNNING)
    assert listed.port_first >= 1024
    assert listed.port_count >= 1
    assert listed.port_first + listed.port_count <= 65_536


async def test_nothing_is_listed_before_the_first_launch(backend: Backend) -> None:
    provider = backend.provider()
    await provider.open()
    assert await provider.list() == {}


async def test_launching_again_finds_the_same_machine(backend: Backend) -> None:
    provider = backend.provider()
    await provider.open()
    assert await provider.launch(order(SHIP)) == await provider.launch(order(SHIP))
    assert set(await provider.list()) == {SHIP}


async def test_overlapping_launches_of_one_ship_make_one_machine(backend: Backend) -> None:
    provider = backend.provider()
    await provider.open()
    machines = await asyncio.gather(*(provider.launch(order(SHIP)) for _ in range(4)))
    assert len(set(machines)) == 1
    assert set(await provider.list()) == {SHIP}


async def test_overlapping_launches_of_many_ships_share_no_port(backend: Backend) -> None:
    provider = backend.provider()
    await provider.open()
    await asyncio.gather(*(provider.launch(order(f"ship-{number}")) for number in range(6)))
    machines = [await told(provider, ShipId(f"ship-{number}")) for number in range(6)]
    ports = [
        (machine.host, port)
        for machine in machines
        for port in range(machine.port_first, machine.port_first + machine.port_count)
    ]
    assert len(ports) == len(set(ports))


async def test_a_ship_keeps_its_ports_while_others_come_and_go(backend: Backend) -> None:
    provider = backend.provider()
    await provider.open()
    await provider.launch(order(OTHER))
    kept = await provider.launch(order(SHIP))
    await provider.terminate(OTHER)
    await provider.launch(order("ship-0003"))
    listed = (await provider.list())[SHIP]
    assert (listed.port_first, listed.port_count) == (kept.port_first, kept.port_count)


async def test_a_parked_machine_is_stopped_and_starts_again(backend: Backend) -> None:
    provider = backend.provider()
    await provider.open()
    launched = await provider.launch(order(SHIP))
    await provider.park(SHIP)
    assert (await provider.list())[SHIP].status is MachineStatus.STOPPED
    await provider.start(order(SHIP))
    started = (await provider.list())[SHIP]
    assert started.status in (MachineStatus.PENDING, MachineStatus.RUNNING)
    assert (started.port_first, started.port_count) == (launched.port_first, launched.port_count)


async def test_parking_again_changes_nothing(backend: Backend) -> None:
    provider = backend.provider()
    await provider.open()
    await provider.launch(order(SHIP))
    await provider.park(SHIP)
    await provider.park(SHIP)
    assert (await provider.list())[SHIP].status is MachineStatus.STOPPED


async def test_launching_a_parked_machine_finds_it_and_leaves_it_parked(backend: Backend) -> None:
    provider = backend.provider()
    await provider.open()
    await provider.launch(order(SHIP))
    await provider.park(SHIP)
    assert (await provider.launch(order(SHIP))).status is MachineStatus.STOPPED


async def test_starting_a_running_machine_leaves_it_alone(backend: Backend) -> None:
    provider = backend.provider()
    await provider.open()
    machine = await provider.launch(order(SHIP))
    await provider.start(order(SHIP))
    assert (await provider.list())[SHIP].port_first == machine.port_first


async def test_starting_an_unknown_machine_is_refused_for_good(backend: Backend) -> None:
    provider = backend.provider()
    await provider.open()
    with pytest.raises(ProviderError) as caught:
        await provider.start(order(SHIP))
    assert caught.value.fatal


async def test_a_terminated_machine_is_gone(backend: Backend) -> None:
    provider = backend.provider()
    await provider.open()
    await provider.launch(order(SHIP))
    await provider.launch(order(OTHER))
    await provider.terminate(SHIP)
    assert set(await provider.list()) == {OTHER}
    await provider.terminate(SHIP)
    assert set(await provider.list()) == {OTHER}


async def test_a_parked_machine_can_be_terminated(backend: Backend) -> None:
    provider = backend.provider()
    await provider.open()
    await provider.launch(order(SHIP))
    await provider.park(SHIP)
    await provider.terminate(SHIP)
    assert await provider.list() == {}


@pytest.mark.parametrize("ship", ["ship-0001", "../ship-0001", "", ".", "no such ship\n"])
async def test_unknown_machines_can_be_parked_and_terminated(backend: Backend, ship: str) -> None:
    provider = backend.provider()
    await provider.open()
    await provider.park(ShipId(ship))
    await provider.terminate(ShipId(ship))
    assert await provider.list() == {}


@pytest.mark.parametrize("ship", ["../ship-0001", "", ".", "a b", "ship/0001"])
async def test_a_name_that_no_machine_can_have_is_refused_for_good(backend: Backend, ship: str) -> None:
    provider = backend.provider()
    await provider.open()
    with pytest.raises(ProviderError) as caught:
        await provider.launch(order(ship))
    assert caught.value.fatal
    assert await provider.list() == {}


async def test_parking_and_terminating_at_once_ends_with_nothing(backend: Backend) -> None:
    provider = backend.provider()
    await provider.open()
    await provider.launch(order(SHIP))
    await asyncio.gather(provider.park(SHIP), provider.terminate(SHIP), provider.park(SHIP), provider.terminate(SHIP))
    assert await provider.list() == {}


async def test_machines_of_another_event_are_neither_listed_nor_ended(backend: Backend) -> None:
    ours, theirs = backend.provider(), backend.provider("other-camp")
    await ours.open()
    await theirs.open()
    await theirs.launch(order(SHIP, "other-camp"))
    assert await ours.list() == {}
    await ours.terminate(SHIP)
    await ours.park(SHIP)
    assert (await theirs.list())[SHIP].status is not MachineStatus.STOPPED


async def test_an_order_of_another_event_is_refused(backend: Backend) -> None:
    provider = backend.provider()
    await provider.open()
    with pytest.raises(ProviderError):
        await provider.launch(order(SHIP, "other-camp"))


async def test_a_later_run_lists_parks_starts_and_ends_what_an_earlier_one_launched(backend: Backend) -> None:
    first = backend.provider()
    await first.open()
    machine = await first.launch(order(SHIP))
    await first.close()
    second = backend.provider()
    await second.open()
    assert ports(await told(second, SHIP)) == ports(machine)
    assert ports(await second.launch(order(SHIP))) == ports(machine)
    assert set(await second.list()) == {SHIP}
    await second.park(SHIP)
    await second.close()
    third = backend.provider()
    await third.open()
    assert (await third.list())[SHIP].status is MachineStatus.STOPPED
    await third.start(order(SHIP))
    await third.terminate(SHIP)
    assert await third.list() == {}


async def test_closing_touches_no_machine(backend: Backend) -> None:
    provider = backend.provider()
    await provider.open()
    await provider.launch(order(SHIP))
    await provider.close()
    later = backend.provider()
    assert (await told(later, SHIP)).status is not MachineStatus.STOPPED


async def test_reaping_ends_every_machine_of_the_event(backend: Backend) -> None:
    first, theirs = backend.provider(), backend.provider("other-camp")
    await first.open()
    await theirs.open()
    await first.launch(order(SHIP))
    await first.launch(order(OTHER))
    await theirs.launch(order("ship-0003", "other-camp"))
    for ship in (SHIP, OTHER):
        await told(first, ship)
    await told(theirs, ShipId("ship-0003"))
    await first.park(OTHER)
    await first.close()
    later = backend.provider()
    await later.open()
    assert (await later.reap(foreign=False)).machines == 2
    assert await later.list() == {}
    assert (await later.reap(foreign=False)).machines == 0
    assert set(await theirs.list()) == {ShipId("ship-0003")}


def test_an_order_does_not_show_its_join_token() -> None:
    assert "join-token-of" not in repr(order(SHIP))
