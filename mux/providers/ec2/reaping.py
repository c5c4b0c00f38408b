"""Ending whatever bears an event's tags, and seeing that it is gone: for the time after the event.

Knows tags only, and nothing of ships: what a store has lost is found too.
"""

from __future__ import annotations

import asyncio
from typing import Any

import structlog

from mux.providers.base import Reaped
from mux.providers.ec2.api import Ec2Api
from mux.providers.ec2.faults import Ec2Error, Kind
from mux.providers.ec2.instances import LIVE, Instance, instances_of
from mux.providers.ec2.orders import TAG_EVENT, TAG_STORE
from mux.providers.ec2.settings import Ec2Settings
from mux.providers.ec2.together import Together
from mux.providers.ec2.waiting import Waiting

Filters = list[dict[str, Any]]

log = structlog.get_logger(__name__)


async def reap(settings: Ec2Settings, api: Ec2Api, end: Together, waiting: Waiting, *, foreign: bool) -> Reaped:
    """End everything of an event.

    Args:
        settings: whose event and store.
        api: to ask.
        end: ends machines; one that cannot be ended, as while it is protected, keeps none of the others.
        waiting: sees that machines are gone.
        foreign: end what belongs to other stores too.

    Raises:
        Ec2Error: something could not be ended; what was ended stays so.
    """
    filters: Filters = [{"Name": f"tag:{TAG_EVENT}", "Values": [settings.event]}]
    found: list[Instance] = []
    states = {"Name": "instance-state-name", "Values": [*LIVE, "shutting-down"]}
    async for page in api.pages("DescribeInstances", Filters=[*filters, states]):
        found += instances_of(page)
    mine = [one for one in found if foreign or one.store == settings.store]
    live = [one.id for one in mine if one.live]
    results = await asyncio.gather(*map(end, live), return_exceptions=True)
    left = {name: why for name, why in zip(live, results, strict=True) if why is not None and not _gone(why)}
    for instance in mine:
        if instance.id not in left:
            await waiting.until(instance.id, lambda one: one is None or one.state == "terminated")
    for why in left.values():
        raise why
    if not foreign:
        filters.append({"Name": f"tag:{TAG_STORE}", "Values": [settings.store]})
    things = await _templates(api, filters) + await _disks(api, filters)
    return Reaped(machines=len(mine), things=things, foreign=len(found) - len(mine))


def _gone(why: BaseException) -> bool:
    return isinstance(why, Ec2Error) and why.kind is Kind.MISSING


async def _templates(api: Ec2Api, filters: Filters) -> int:
    """Delete the launch templates, and with them the user-data of every ship."""
    names = []
    async for page in api.pages("DescribeLaunchTemplates", Filters=filters):
        names += [str(template["LaunchTemplateId"]) for template in page.get("LaunchTemplates", ())]
    for name in names:
        await _unless_gone(api, "DeleteLaunchTemplate", LaunchTemplateId=name)
    return len(names)


async def _disks(api: Ec2Api, filters: Filters) -> int:
    """Delete disks that outlived their machines, which should not happen, and costs."""
    names = []
    free = {"Name": "status", "Values": ["available"]}
    async for page in api.pages("DescribeVolumes", Filters=[*filters, free]):
        names += [str(volume["VolumeId"]) for volume in page.get("Volumes", ())]
    for name in names:
        await _unless_gone(api, "DeleteVolume", VolumeId=name)
    return len(names)


async def _unless_gone(api: Ec2Api, action: str, **what: Any) -> None:
    try:
        await api.call(action, **what)
    except Ec2Error as fault:
        if fault.kind is not Kind.MISSING:
            raise
