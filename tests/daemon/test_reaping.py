"""Reaping: the core ends its ships first, then the provider what is left; one at a time, and errors are told."""

from __future__ import annotations

import asyncio

from mux.core.events import Event, FleetEnded
from mux.daemon.reaping import Reaper
from mux.providers.base import ProviderError, Reaped
from tests.providers.backends import order
from tests.providers.ec2_backends import fake_backend


async def finished(reaper: Reaper) -> None:
    while reaper.state().running:
        await asyncio.sleep(0.01)


async def test_ships_end_before_the_provider_sweeps_and_a_second_request_waits_for_the_first() -> None:
    submitted: list[Event] = []

    async def submit(event: Event) -> None:
        submitted.append(event)

    async with fake_backend() as backend:
        provider = backend.provider()
        await provider.open()
        await asyncio.gather(*(provider.launch(order(f"ship-{number}")) for number in range(3)))
        reaper = Reaper(provider, submit)
        assert (await reaper.begin(foreign=False)).running
        assert (await reaper.begin(foreign=False)).running
        await finished(reaper)
        assert submitted == [FleetEnded()]
        found = reaper.state()
        assert (found.machines, found.things, found.foreign, found.error) == (3, 1, 0, "")
        await reaper.close()


async def test_what_the_provider_refuses_is_told_and_can_be_tried_again() -> None:
    class Refusing:
        async def reap(self, *, foreign: bool) -> Reaped:
            raise ProviderError("mux may not call TerminateInstances.")

    async def submit(event: Event) -> None:
        pass

    reaper = Reaper(Refusing(), submit)  # type: ignore[arg-type]
    await reaper.begin(foreign=True)
    await finished(reaper)
    assert reaper.state().error == "mux may not call TerminateInstances."
    assert (await reaper.begin(foreign=True)).running
    await reaper.close()
