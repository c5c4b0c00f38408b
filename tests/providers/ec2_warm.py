"""A whole mux that warms a fleet on the strict fake EC2, in virtual time.

Engine, effects and provider are the real ones. Ships are simulated: a machine that runs dials some seconds later and
makes true at once what it is told. The store is in memory, so that a mux can be killed after any commit.
``python -m tests.providers.ec2_warm`` writes ``ec2_warm.json``.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from mux.core.commands import CloseLink, Command, Effect, Notify, Persist, SendDesired
from mux.core.events import Event, LinkLost, ShipDialed, ShipReported
from mux.core.feed import FeedSettings
from mux.core.model import EventSpec, LinkId, ReportedState, ShipId, ShipReport, ShipState, WorkspaceReport
from mux.core.views import FleetStatus
from mux.effects import Effects, Words
from mux.engine import Engine
from mux.keys import Keyring
from mux.providers.ec2 import Ec2Api, Ec2Provider
from mux.providers.user_data import user_data
from mux.publisher import Publisher
from mux.store.base import Store
from tests.core.room import Kept, event_spec
from tests.fakes.ec2 import Cloud, Fault, Faults, Instance, Settings, State, api_of, client
from tests.fakes.ec2.api import Api
from tests.fakes.virtual import run_virtually
from tests.providers.backends import order
from tests.providers.ec2_backends import settings

EPOCH_S = 1_000_000.0
LOOK_S = 5.0
READY_WITHIN_S = 7_200.0
"""Of virtual time: a fleet that is not ready then never will be."""
SETTLE_S = 600.0
"""After which nothing may be left that was made by a lost answer."""
RESULTS = Path(__file__).with_name("ec2_warm.json")
ZONES = ("subnet-0aaaaaaaaaaaaaaaa", "subnet-0bbbbbbbbbbbbbbbb", "subnet-0cccccccccccccccc")
TROUBLES = {
    Fault.LOST: 0.02,
    Fault.RESET: 0.02,
    Fault.ERROR_BEFORE: 0.02,
    Fault.ERROR_AFTER: 0.02,
    Fault.THROTTLED: 0.03,
    Fault.SLOW: 0.01,
    Fault.ZONE_EMPTY: 0.002,
}
"""How likely each is for each request."""


class KilledError(Exception):
    """The mux dies here: what was committed is kept, and nothing follows from it."""


class _Store:
    """Keeps what is committed, and dies after a commit if it is told to."""

    def __init__(self, kept: Kept) -> None:
        self.kept = kept
        self.commits_left: int | None = None

    async def commit(self, batch: Sequence[Persist]) -> None:
        for command in batch:
            self.kept.carry_out(cast(Command, command))
        if self.commits_left is not None:
            self.commits_left -= 1
            if self.commits_left <= 0:
                raise KilledError


class _Effects(Effects):
    """The real ones; what organizers are told is kept."""

    told: list[Notify]

    def start(self, effects: Sequence[Effect]) -> None:
        self.told += [effect for effect in effects if isinstance(effect, Notify)]
        super().start([effect for effect in effects if not isinstance(effect, Notify)])


class Mux:
    """One process of the mux.

    Args:
        house: where it runs.
    """

    def __init__(self, house: House) -> None:
        self.house = house
        self.store = _Store(house.kept)
        self.provider = Ec2Provider(
            settings(subnets=ZONES), user_data, self._post, api=Ec2Api(lambda: client("ec2", house.api))
        )
        self._seq = 0

    def _post(self, event: Event) -> None:
        self.engine.post(event)

    async def __aenter__(self) -> Mux:
        clock = self.house.clock
        fleet = self.house.kept.restored(self.house.spec, clock())
        self.effects = _Effects(self.provider, order, self._tell, clock)
        self.effects.told = self.house.told
        publisher = Publisher(Keyring(bytes(32)).workspace_token, FeedSettings("http://localhost:8000", "s", "room"))
        self.engine = Engine(fleet, cast(Store, self.store), publisher, self.effects, clock)
        await self.provider.open()
        self.effects.open(self._post)
        self.running = asyncio.create_task(self.engine.run())
        self.house.mux = self
        for instance in self.house.cloud.instances.values():
            if instance.state is State.RUNNING:
                self.house.dials(instance)
        return self

    async def __aexit__(self, *_error: object) -> None:
        """Dies: whatever is under way is cut off."""
        self.house.mux = None
        self.running.cancel()
        with suppress(asyncio.CancelledError, KilledError):
            await self.running
        await self.effects.close()
        await self.provider.close()

    async def _tell(self, words: Words) -> None:
        match words:
            case SendDesired(ship, link, desired):
                self._seq += 1
                healthy = tuple(
                    WorkspaceReport(workspace.id, ReportedState.HEALTHY, epoch=workspace.epoch)
                    for workspace in desired.workspaces
                )
                self.engine.post(ShipReported(ship, link, ShipReport(self._seq, desired.generation, "", healthy)))
            case CloseLink(ship, link):
                self.engine.post(LinkLost(ship, link))
            case _:
                pass

    def status(self) -> FleetStatus:
        """The room at a glance."""
        return self.engine.status(self.house.clock())

    async def until_ready(self, seats: int) -> None:
        """Wait for seats; or for the process's end, if it is to die."""
        began = self.house.clock()
        while self.status().seats_ready < seats:
            assert self.house.clock() - began < READY_WITHIN_S, self.status()
            if self.running.done():
                self.running.result()
            await asyncio.sleep(LOOK_S)


class House:
    """The account, the ships, and what outlives a mux."""

    def __init__(self, api: Api, spec: EventSpec) -> None:
        self.api = api
        self.cloud = api.cloud
        self.spec = spec
        self.kept = Kept()
        self.told: list[Notify] = []
        self.mux: Mux | None = None
        self._links = 0
        self._loop = asyncio.get_running_loop()
        self.cloud.behind.on_running = self._booted

    def clock(self) -> float:
        """What the muxes' clocks say."""
        return EPOCH_S + self._loop.time()

    def _booted(self, instance: Instance) -> None:
        self._loop.call_later(10.0, self.dials, instance)

    def dials(self, instance: Instance) -> None:
        """A ship's agent finds the mux, if there is one."""
        if self.mux is not None and instance.state is State.RUNNING:
            self._links += 1
            ship = ShipId(instance.tags["mux:ship"])
            dialed = ShipDialed(ship, LinkId(self._links), f"key of {instance.id}", str(instance.boots), token_ok=True)
            self.mux.engine.post(dialed)

    @property
    def alive(self) -> list[Instance]:
        """Machines that exist and are not going."""
        gone = (State.SHUTTING_DOWN, State.TERMINATED)
        return [instance for instance in self.cloud.instances.values() if instance.state not in gone]

    def assert_exact(self, ships: int) -> None:
        """Not one machine too many, none forgotten, each of a ship that the mux knows; and no word of throttling."""
        assert self.mux is not None
        known = {ship.id for ship in self.mux.status().ships if ship.state is not ShipState.TERMINATED}
        alive = Counter(ShipId(instance.tags["mux:ship"]) for instance in self.alive)
        assert set(alive) == known
        assert len(self.alive) == len(alive) == ships
        assert [notice.text for notice in self.told if "hrottl" in notice.text or "LimitExceeded" in notice.text] == []


@asynccontextmanager
async def house(ships: int, faults: Faults | None = None, seed: int = 0, **fleet: Any) -> AsyncIterator[House]:
    """An account with an event of so many ships, of one seat each."""
    spec = event_spec(
        attendees=ships, seats_per_ship=1, ready_seats=ships, heartbeat_s=300.0, heartbeat_grace_s=36_000.0, **fleet
    )
    async with api_of(Cloud(Settings(), seed=seed), faults or Faults(), follow=True) as api:
        yield House(api, spec)


async def warmed(ships: int, seed: int = 0, troubles: Mapping[Fault, float] = TROUBLES) -> dict[str, Any]:
    """Warm a fleet while everything goes wrong that may; what it took."""
    faults = Faults(seed, troubles)
    async with house(ships, faults, seed) as made, Mux(made) as mux:
        await mux.until_ready(ships)
        ready_s = made.clock() - EPOCH_S
        calls = Counter(call.action for call in made.cloud.calls)
        await asyncio.sleep(SETTLE_S)
        made.assert_exact(ships)
        return {
            "ships": ships,
            "seed": seed,
            "ready_after_s": round(ready_s),
            "faults": {fault.name: count for fault, count in sorted(faults.injected.items(), key=lambda f: f[0].name)},
            "machines_made": len(made.cloud.instances),
            "calls": dict(sorted(calls.items())),
            "calls_per_ship": {action: round(count / ships, 2) for action, count in sorted(calls.items())},
            "notices": dict(sorted(Counter(notice.code for notice in made.told).items())),
        }


def main() -> None:
    """Write the table for a thousand ships, on a good day and on a bad one."""
    words = ["git", "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(words, cwd=RESULTS.parent, capture_output=True, text=True, check=True).stdout.strip()
    of_today = {"date": datetime.now(UTC).date().isoformat(), "commit": commit}
    days = {"good": run_virtually(warmed(1000, troubles={})), "bad": run_virtually(warmed(1000))}
    RESULTS.write_text(json.dumps(of_today | days, indent=2) + "\n")


if __name__ == "__main__":
    main()
