"""The provider `local` with the real ship agent, linked to a real control endpoint."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mux.core.events import LinkLost, ShipDialed, ShipReported
from mux.core.model import Desired, MachineStatus
from mux.providers.base import LaunchOrder
from mux.providers.local import LocalProvider
from tests.control.harness import SHIP, Mux
from tests.providers.backends import LocalBackend, until


@pytest.fixture
async def mux(tmp_path: Path) -> AsyncIterator[Mux]:
    made = Mux(tmp_path / "mux")
    await made.start()
    yield made
    await made.close()


@pytest.fixture
async def backend(tmp_path: Path) -> AsyncIterator[LocalBackend]:
    made = LocalBackend(tmp_path / "ships")
    yield made
    await made.clean_up()


def order(mux: Mux) -> LaunchOrder:
    return LaunchOrder(
        ship=SHIP,
        event="camp",
        control_url=mux.url,
        ca_pem=mux.ca.pem,
        join_token=mux.keys.join_token(SHIP),
        runtime="process",
    )


async def test_a_ship_from_launch_to_its_end(mux: Mux, backend: LocalBackend) -> None:
    first = LocalProvider(backend.root, "camp", watch_s=0.02)
    await first.open()
    await first.launch(order(mux))
    await mux.core.seen(ShipReported)
    await mux.send(SHIP, Desired(generation=5, projects=(), workspaces=()))
    await mux.core.until(lambda: mux.core.of(ShipReported)[-1].report.generation == 5)

    # The mux goes and comes back: the same agent, on a new link.
    agent = await backend.running(SHIP)
    await first.close()
    await mux.stop()
    await mux.core.seen(LinkLost)
    await mux.start()
    second = LocalProvider(backend.root, "camp", watch_s=0.02)
    await second.open()
    await mux.core.seen(ShipDialed, SHIP, 2)
    assert (await backend.running(SHIP)).pid == agent.pid

    # The agent is killed: another one, the same boot and key.
    agent.kill()
    await mux.core.seen(ShipDialed, SHIP, 3)
    dials = mux.core.of(ShipDialed)
    assert len({dial.key for dial in dials}) == len({dial.boot for dial in dials}) == 1

    # Parked and started: another boot of the same ship.
    await second.park(SHIP)
    assert backend.agents() == []
    assert (await second.list())[SHIP].status is MachineStatus.STOPPED
    await second.start(order(mux))
    dial = await mux.core.seen(ShipDialed, SHIP, 4)
    assert dial.key == dials[0].key
    assert dial.boot != dials[0].boot

    await second.terminate(SHIP)
    await until(lambda: backend.agents() == [])
    assert list(backend.root.iterdir()) == []
    await second.close()


async def test_nothing_secret_is_on_an_agents_command_line_or_in_its_log(mux: Mux, backend: LocalBackend) -> None:
    provider = LocalProvider(backend.root, "camp", watch_s=0.02)
    await provider.open()
    await provider.launch(order(mux))
    await mux.core.seen(ShipReported)
    agent = await backend.running(SHIP)
    shown = " ".join(agent.cmdline()) + str(agent.environ()) + (backend.root / SHIP / "agent.log").read_text()
    assert mux.keys.join_token(SHIP) not in shown
    await provider.terminate(SHIP)
    await provider.close()
