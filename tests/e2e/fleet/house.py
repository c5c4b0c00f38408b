"""A mux with provider `ec2`, as people start it, and the cloud that it meets: the strict fake over HTTP.

Behind instances is a ship agent each (`tests.fakes.agents`), or nothing. The event file is one that an organizer could
have written: workspaces are containers, and the mux has a name on the ships' network.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from mux.config.images import directory_digest
from tests.e2e.harness import EXAMPLES, LOOK_S, MUX, MuxUnderTest, kill
from tests.e2e.kills.attendee import Attendee
from tests.fakes.agents import Agents, subnets_here
from tests.fakes.ec2 import KEY_ID, REGION, SHIPS_GROUP, Catalog, Cloud, Instance, Settings, api_of, served
from tests.fakes.ec2.api import Api
from tests.fakes.ec2.catalog import IngressRule, SecurityGroup
from tests.fakes.ec2.model import ENDED
from tests.fakes.rig import IMAGE, SUBNET_A, SUBNET_B

NAME = "Ana"
SO_S_MAX = 300.0
"""Bound of every wait: minutes, since this machine may be doing other things."""
QUICK = Settings(boot_s=(0.2, 0.6), stop_s=(0.2, 0.6), end_s=(0.2, 0.6), unlisted_s=(0, 0.5), lag_s=(0, 0.3))
"""A cloud in a hurry; its listings lag behind all the same."""
MUX_GROUP = "sg-0fedcba9876543210"
GROUPS = (
    SecurityGroup(SHIPS_GROUP, "ships", (IngressRule(1024, 65535, from_group=MUX_GROUP),)),
    SecurityGroup(MUX_GROUP, "mux", (IngressRule(1024, 65535, from_group=SHIPS_GROUP),)),
)
"""Ports are free ones here, and not known beforehand."""

EVENT = f"""\
[event]
name = "{{event}}"
title = "Camp of the clouds"
public_address = "http://localhost:{{public}}"
admin_address = "http://127.0.0.1:{{admin}}"

[[project]]
name = "intro"
title = "Introduction to notebooks"
image = "127.0.0.1:9/intro@DIGEST"

[fleet]
provider = "ec2"
runtime = "docker"
ready_seats = 1
heartbeat_s = 1.0
heartbeat_grace_s = 60.0
listing_s = 1.0
ports = "{{ports}}"
FLEET

[ec2]
region = "{REGION}"
endpoint = "ENDPOINT"
image = "{IMAGE}"
instance_types = ["m6i.2xlarge", "m5.2xlarge"]
subnets = ["{SUBNET_A}", "{SUBNET_B}"]
security_groups = ["{SHIPS_GROUP}"]
market = "MARKET"
control_host = "mux.camp.internal"

[warming]
stall_s = 900

[timetable]
warm_at = "2099-01-01 08:00"

[listen]
public = "127.0.0.1:{{public}}"
admin = "127.0.0.1:{{admin}}"
control = "127.0.0.1:{{control}}"

[data]
directory = "data"
"""
"""Nobody fetches the image: machines bring it."""


class House(MuxUnderTest):
    """See the module; made by `open_house`.

    Args:
        directory: of the mux, and of nothing else.
        cloud: what its provider meets, at ``endpoint``.
        agents: what stands behind instances; None for nothing.
        template: of the event file.
    """

    def __init__(self, directory: Path, cloud: Cloud, endpoint: str, agents: Agents | None, template: str) -> None:
        super().__init__(directory, template=template)
        self.serve = ["serve"]
        self.cloud = cloud
        self._agents = agents
        self.environment |= {
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_ACCESS_KEY_ID": KEY_ID,
            "AWS_SECRET_ACCESS_KEY": "not a secret",
            "AWS_EC2_METADATA_DISABLED": "true",
            **{name: str(directory / "none") for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE")},
        }

    @property
    def agents(self) -> Agents:
        """What stands behind instances."""
        assert self._agents is not None
        return self._agents

    @property
    def live(self) -> list[Instance]:
        """Instances that have not been ended."""
        return [instance for instance in self.cloud.instances.values() if instance.state not in ENDED]

    def instance_of(self, ship: str) -> Instance:
        """The only one of a ship."""
        (found,) = (instance for instance in self.live if instance.tags["mux:ship"] == ship)
        return found

    async def warm(self, seats: int) -> None:
        """As an organizer does: `mux fleet warm` watches until the seats are ready."""
        await self.run("fleet", "warm", str(seats), "--yes", "--timeout", str(SO_S_MAX))

    async def check(self, *words: str) -> dict[str, dict[str, Any]]:
        """`mux check`: its findings by what was checked."""
        process = await asyncio.create_subprocess_exec(
            MUX, "--config", str(self.config), "check", "--json", *words,
            env=self.environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, err = await process.communicate()
        assert out, err.decode()
        return {finding["check"]: finding for finding in json.loads(out)["findings"]}

    async def until(self, fulfilled: Callable[[], Awaitable[bool]]) -> None:
        """Wait until something is so."""
        try:
            async with asyncio.timeout(SO_S_MAX):
                while not await fulfilled():
                    await asyncio.sleep(LOOK_S)
        except TimeoutError:
            raise AssertionError(f"not so after {SO_S_MAX:.0f} s:\n{await self.account()}") from None

    @contextlib.asynccontextmanager
    async def at_work(self) -> AsyncIterator[Attendee]:
        """An attendee who has logged in, works in a kernel and has saved."""
        await self.invite([NAME])
        attendee = Attendee(self.public, NAME, self.codes[NAME])
        try:
            await attendee.log_in()
            await self.until(attendee.answers)
            await attendee.open_kernel()
            assert await attendee.kernel_is_the_same()
            yield attendee
        finally:
            await attendee.close()

    async def account(self) -> str:
        """As in the base, and what machines have to say."""
        machines = self._agents.account() if self._agents else ""
        return f"{await super().account()}\n{machines}"


@contextlib.asynccontextmanager
async def open_house(
    *,
    agents: bool = True,
    fleet: Sequence[str] = (),
    market: str = "on_demand",
    through: Callable[[Cloud], Api] = Api,
) -> AsyncIterator[House]:
    """A mux that is not started yet, and its cloud.

    Args:
        agents: whether there is one behind each instance.
        fleet: further lines of the event file's ``[fleet]``.
        market: in ``[ec2]``.
        through: makes what answers for the cloud.
    """
    image = Path(EXAMPLES[0])
    digest = directory_digest(image)
    async with contextlib.AsyncExitStack() as parts:
        made = parts.enter_context(tempfile.TemporaryDirectory(prefix="mux-fleet-", ignore_cleanup_errors=True))
        subnets = subnets_here() if agents else Catalog.subnets
        cloud = Cloud(QUICK, Catalog(subnets=subnets, groups=GROUPS))
        await parts.enter_async_context(api_of(cloud, follow=True))
        endpoint = await parts.enter_async_context(served(through(cloud)))
        behind = Agents(cloud, Path(made) / "machines", {digest: image}) if agents else None
        if behind is not None:
            await parts.enter_async_context(behind)
        template = EVENT.replace("DIGEST", digest).replace("ENDPOINT", endpoint).replace("MARKET", market)
        directory = Path(made) / "mux"
        directory.mkdir()
        house = House(directory, cloud, endpoint, behind, template.replace("FLEET", "\n".join(fleet)))
        try:
            yield house
            await house.stop()
        finally:
            if left := house.processes():
                await kill(left)
