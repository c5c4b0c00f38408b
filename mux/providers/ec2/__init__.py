"""Provider `ec2`: a ship is a machine of Amazon EC2.

Modules: provider (the protocol's calls), settings (what machines are), orders (requests, as pure data), instances
(what a listing means, pure), faults (EC2's error codes, in words), pace (token buckets, pure), answers (what EC2's have
in them, pure), api (one paced call), together (calls for many ships in one), waiting (until machines are what they
should be), announcing (what EC2 will do, and who else is here), reaping (after the event).

Must not know: the engine, seats, people. Rules: botocore never retries by itself; every call is paced and idempotent;
nothing secret but the join token leaves the mux, and that only in user-data.
"""

from mux.providers.ec2.api import Ec2Api, connected
from mux.providers.ec2.provider import Ec2Provider
from mux.providers.ec2.settings import Ec2Settings, Market

__all__ = ["Ec2Api", "Ec2Provider", "Ec2Settings", "Market", "connected"]
