"""Waiting until machines are in a state: one listing at a time for everybody who waits.

Asks by filter, never by id: a filter is no error for a machine that the listing does not have (yet, or any more).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from mux.providers.ec2.api import PAGE, Ec2Api
from mux.providers.ec2.faults import Ec2Error, Kind
from mux.providers.ec2.instances import Instance, instances_of

POLL_S = 3.0
"""Between two looks while somebody waits. A machine takes tens of seconds to stop."""
WAIT_S = 420.0
"""Longest wait: EC2 stops most machines within two minutes, and forces the rest."""

Wanted = Callable[[Instance | None], bool]
"""Whether a machine, or its absence from the listing, is what somebody waits for."""


class Waiting:
    """Looks at machines that somebody waits for.

    Args:
        api: to ask.
        poll_s: how often.
    """

    def __init__(self, api: Ec2Api, poll_s: float = POLL_S) -> None:
        self._api = api
        self._poll_s = poll_s
        self._waiters: list[tuple[str, Wanted, asyncio.Future[Instance | None]]] = []
        self._poller: asyncio.Task[None] | None = None

    async def until(self, instance: str, wanted: Wanted) -> Instance | None:
        """Wait for a machine. Raises Ec2Error when that takes too long, or nothing can be asked."""
        future: asyncio.Future[Instance | None] = asyncio.get_running_loop().create_future()
        waiter = (instance, wanted, future)
        self._waiters.append(waiter)
        if self._poller is None or self._poller.done():
            self._poller = asyncio.create_task(self._poll(), name="ec2 waiting")
        try:
            async with asyncio.timeout(WAIT_S):
                return await future
        except TimeoutError:
            text = f"{instance} is not what it should be after {WAIT_S:g} s; mux tries again."
            raise Ec2Error(Kind.AGAIN, "DescribeInstances", "slow", text) from None
        finally:
            if waiter in self._waiters:
                self._waiters.remove(waiter)

    async def close(self) -> None:
        """Look no more; whoever waits is cancelled."""
        if self._poller is not None:
            self._poller.cancel()
            await asyncio.gather(self._poller, return_exceptions=True)
        for _, _, future in self._waiters:
            future.cancel()

    async def look(self, *instances: str) -> dict[str, Instance]:
        """What EC2 says of some machines; those that it does not know are left out. Raises Ec2Error."""
        found: dict[str, Instance] = {}
        for first in range(0, len(instances), PAGE):
            some = list(instances[first : first + PAGE])
            async for page in self._api.pages("DescribeInstances", Filters=[{"Name": "instance-id", "Values": some}]):
                found |= {instance.id: instance for instance in instances_of(page)}
        return found

    async def _poll(self) -> None:
        while self._waiters:
            await asyncio.sleep(self._poll_s)
            asked = list(self._waiters)
            try:
                found = await self.look(*{instance for instance, _, _ in asked})
            except Exception as fault:  # a defect, too: whoever waits would wait for long
                for _, _, future in asked:
                    if not future.done():
                        future.set_exception(fault)
                        future.exception()
                continue
            for instance, wanted, future in asked:
                if not future.done() and wanted(found.get(instance)):
                    future.set_result(found.get(instance))
