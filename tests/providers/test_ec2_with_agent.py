"""The provider `ec2` on the strict fake, with the real ship agent behind its instances and a real control endpoint."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mux.core.events import LinkLost, ShipDialed, ShipReported
from mux.core.model import Desired
from mux.providers.base import LaunchOrder
from tests.control.harness import SHIP, Mux
from tests.e2e.harness import processes_of
from tests.fakes.agents import Agents, subnets_here
from tests.fakes.ec2 import Catalog, Cloud, api_of
from tests.providers.ec2_backends import QUICK, FakeBackend


@pytest.fixture
async def mux(tmp_path: Path) -> AsyncIterator[Mux]:
    made = Mux(tmp_path / "mux")
    await made.start()
    yield made
    await made.close()


@pytest.fixture
async def agents(tmp_path: Path) -> AsyncIterator[Agents]:
    async with Agents(Cloud(QUICK, Catalog(subnets=subnets_here())), tmp_path / "machines") as made:
        yield made
    assert processes_of(tmp_path / "machines") == []


@pytest.fixture
async def backend(agents: Agents) -> AsyncIterator[FakeBackend]:
    async with api_of(agents.cloud, follow=True) as api:
        made = FakeBackend(api)
        yield made
        await made.clean_up()


def order(mux: Mux) -> LaunchOrder:
    return LaunchOrder(
        ship=SHIP,
        event="camp",
        control_url=mux.url,
        ca_pem=mux.ca.pem,
        join_token=mux.keys.join_token(SHIP),
        runtime="docker",
    )


async def test_a_ship_from_launch_to_its_end(mux: Mux, backend: FakeBackend, agents: Agents) -> None:
    provider = backend.provider()
    await provider.open()
    await provider.launch(order(mux))
    await mux.core.seen(ShipReported)
    await mux.send(SHIP, Desired(generation=5, projects=(), workspaces=()))
    await mux.core.until(lambda: mux.core.of(ShipReported)[-1].report.generation == 5)

    # Parked: as by a power cut. What EC2 announces meanwhile, the agent is told when it is there again.
    await provider.park(SHIP)
    await agents.settled()
    (machine,) = agents.cloud.instances.values()
    assert processes_of(agents.disk(machine.id)) == []
    await mux.core.seen(LinkLost)
    agents.cloud.schedule_retirement(machine.id, in_s=86_400)

    # Started: another boot of the same ship.
    await provider.start(order(mux))
    again = await mux.core.seen(ShipDialed, SHIP, 2)
    first = mux.core.of(ShipDialed)[0]
    assert again.key == first.key
    assert again.boot != first.boot
    await mux.core.until(lambda: any(event.report.notices for event in mux.core.of(ShipReported)))
    (notice,) = mux.core.of(ShipReported)[-1].report.notices
    assert (notice.kind, notice.detail) == ("maintenance", "instance-retirement")

    await provider.terminate(SHIP)
    await agents.settled()
    assert not agents.disk(machine.id).exists()
    assert await provider.list() == {}


async def test_nothing_secret_is_on_an_agents_command_line_or_in_its_log(
    mux: Mux, backend: FakeBackend, agents: Agents
) -> None:
    provider = backend.provider()
    await provider.open()
    await provider.launch(order(mux))
    await mux.core.seen(ShipReported)
    (machine,) = agents.cloud.instances.values()
    (agent,) = processes_of(agents.disk(machine.id))
    shown = " ".join(agent.cmdline()) + str(agent.environ()) + agents.account()
    assert "link" in agents.account()
    assert mux.keys.join_token(SHIP) not in shown
