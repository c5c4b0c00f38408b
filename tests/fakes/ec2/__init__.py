"""A stricter EC2 to test against: the query protocol, with the limits, delays and refusals of the real one.

What it is for: moto proves that requests have the right form; it never throttles, fills up, forgets or is late. This
one does all of that, repeatably: by seed, and in time that a test advances or that follows an event loop.

Its rules:

- Only what mux uses. Whatever else a request says is refused with ``NotInFake``, never ignored.
- :mod:`~tests.fakes.ec2.cloud` owns what exists and its life; actions are functions of a cloud and parameters;
  :mod:`~tests.fakes.ec2.wire` knows shapes only; :mod:`~tests.fakes.ec2.serving` is the only module with sockets.
- Behind an instance stands nothing, unless a rig listens to what becomes of instances (`Behind`): a process that is a
  ship agent (:mod:`tests.fakes.agents`), or a container that boots with systemd and cloud-init, and has an engine of
  its own (:mod:`tests.machines.containers`). Both ask the instance's metadata service (:mod:`~tests.fakes.ec2.imds`).
- Where EC2's behaviour is not documented, the stricter reading is taken, and the docstring there says so.
"""

from __future__ import annotations

from tests.fakes.ec2.api import Api
from tests.fakes.ec2.catalog import ACCOUNT, REGION, SHIPS_GROUP, VPC, Catalog
from tests.fakes.ec2.cloud import KEY_ID, PROMPT, Behind, Cloud, Settings
from tests.fakes.ec2.faults import Fault, Faults
from tests.fakes.ec2.limits import Buckets, Quotas
from tests.fakes.ec2.model import Instance, Principal, State
from tests.fakes.ec2.serving import api_of, client, client_settings, served

__all__ = [
    "ACCOUNT",
    "KEY_ID",
    "PROMPT",
    "REGION",
    "SHIPS_GROUP",
    "VPC",
    "Api",
    "Behind",
    "Buckets",
    "Catalog",
    "Cloud",
    "Fault",
    "Faults",
    "Instance",
    "Principal",
    "Quotas",
    "Settings",
    "State",
    "api_of",
    "client",
    "client_settings",
    "served",
]
