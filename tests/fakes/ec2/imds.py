"""The metadata service of fake instances (IMDS), as a machine sees it at 169.254.169.254.

Version 2 with tokens; without one only where the instance allows it, as EC2 decides it. One exception may be asked
for: ``legacy_without_token`` answers ``/2009-04-04/`` to everybody, since cloud-init 22.4 asks there without a token
wherever it does not know that it is on EC2. Which instance asks is told by its address, or by whoever serves it alone.

Source: "Use IMDS" and "Instance metadata categories" in the Amazon EC2 User Guide.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

from aiohttp import web

from tests.fakes.ec2.catalog import ACCOUNT, REGION, VPC
from tests.fakes.ec2.cloud import Cloud
from tests.fakes.ec2.model import Instance
from tests.fakes.ec2.views import groups_of

TOKEN = "X-aws-ec2-metadata-token"
TOKEN_TTL = "X-aws-ec2-metadata-token-ttl-seconds"
TTL_S_MAX = 21_600
LEGACY = "2009-04-04"
VERSIONS = (LEGACY, "2016-09-02", "2018-09-24", "2021-03-23", "latest")
PARTITION, DOMAIN = "aws", "amazonaws.com"

Tree = Mapping[str, Any]  # a directory: names to directories or to text


class Imds:
    """The metadata service for instances of one cloud.

    Args:
        who: the instance behind a peer's address; None is nobody.
        legacy_without_token: whether ``/2009-04-04/`` answers without a token, even where tokens are required.
    """

    def __init__(
        self, cloud: Cloud, who: Callable[[str], Instance | None], *, legacy_without_token: bool = False
    ) -> None:
        self._cloud = cloud
        self._who = who
        self.legacy_without_token = legacy_without_token
        self._tokens: dict[str, tuple[str, float]] = {}  # to instance and end

    async def handle(self, request: web.Request) -> web.Response:
        """Answer one request."""
        self._cloud.catch_up()
        instance = self._who(request.remote or "")
        if instance is None:
            return web.Response(status=404, text="no such instance")
        if instance.option("MetadataOptions", "HttpEndpoint", "enabled") == "disabled":
            return web.Response(status=403)
        if request.method == "PUT":
            return self._new_token(request, instance)
        version, _, path = request.path.lstrip("/").partition("/")
        if not self._may_read(request, instance, version):
            return web.Response(status=401)
        if not version:
            return web.Response(text="\n".join(VERSIONS))
        found = _walk(self._tree(instance), path) if version in VERSIONS else None
        if found is None:
            return web.Response(status=404)
        if isinstance(found, bytes):
            return web.Response(body=found, content_type="application/octet-stream")
        return web.Response(text=found if isinstance(found, str) else _listing(found))

    def _new_token(self, request: web.Request, instance: Instance) -> web.Response:
        """A token; refused with X-Forwarded-For, so that an open proxy on the machine is of no use."""
        if request.path != "/latest/api/token":
            return web.Response(status=405)
        if "X-Forwarded-For" in request.headers:
            return web.Response(status=403)
        ttl = request.headers.get(TOKEN_TTL, "")
        if not ttl.isdigit() or not 1 <= int(ttl) <= TTL_S_MAX:
            return web.Response(status=400)
        token = secrets.token_urlsafe(40)
        self._tokens[token] = (instance.id, self._cloud.now + int(ttl))
        return web.Response(text=token, headers={TOKEN_TTL: ttl})

    def _may_read(self, request: web.Request, instance: Instance, version: str) -> bool:
        token = request.headers.get(TOKEN)
        if token is not None:
            owner, end = self._tokens.get(token, ("", 0.0))
            return owner == instance.id and self._cloud.now < end
        if self.legacy_without_token and version == LEGACY:
            return True
        return instance.option("MetadataOptions", "HttpTokens", "optional") == "optional"

    def _tree(self, instance: Instance) -> Tree:
        tree: dict[str, Any] = {
            "meta-data": self._meta_data(instance),
            "dynamic": {"instance-identity": {"document": self._document(instance)}},
        }
        if instance.user_data:
            tree["user-data"] = instance.user_data
        return tree

    def _meta_data(self, instance: Instance) -> Tree:
        host = f"ip-{instance.address.replace('.', '-')}.{REGION}.compute.internal"
        mac = "02:" + ":".join(f"{instance.number:010x}"[at : at + 2] for at in range(0, 10, 2))
        groups = "\n".join(groups_of(instance))
        interface = {
            "device-number": "0",
            "local-hostname": host,
            "local-ipv4s": instance.address,
            "mac": mac,
            "security-group-ids": groups,
            "subnet-id": instance.subnet.id,
            "subnet-ipv4-cidr-block": instance.subnet.cidr,
            "vpc-id": VPC,
        }
        tree: dict[str, Any] = {
            "ami-id": instance.made["ImageId"],
            "ami-launch-index": "0",
            "events": {"maintenance": {"history": "[]", "scheduled": self._scheduled(instance)}},
            "hostname": host,
            "instance-action": "none",
            "instance-id": instance.id,
            "instance-life-cycle": "spot" if instance.spot else "on-demand",
            "instance-type": instance.offer.name,
            "local-hostname": host,
            "local-ipv4": instance.address,
            "mac": mac,
            "network": {"interfaces": {"macs": {mac: interface}}},
            "placement": {"availability-zone": instance.subnet.zone, "region": REGION},
            "reservation-id": instance.reservation,
            "security-groups": groups,
            "services": {"domain": DOMAIN, "partition": PARTITION},
        }
        if instance.public_address:
            tree["public-ipv4"] = instance.public_address
        if instance.option("MetadataOptions", "InstanceMetadataTags", "disabled") == "enabled":
            tree["tags"] = {"instance": dict(instance.tags)}
        if instance.rebalance_at is not None:
            notice = {"noticeTime": _iso(self._cloud.date(instance.rebalance_at))}
            tree["events"]["recommendations"] = {"rebalance": json.dumps(notice)}
        if instance.interruption_at is not None:
            end = _iso(self._cloud.date(instance.interruption_at))
            tree["spot"] = {
                "instance-action": json.dumps({"action": "terminate", "time": end}),
                "termination-time": end,
            }
        return tree

    def _scheduled(self, instance: Instance) -> str:
        return json.dumps(
            [
                {
                    "NotBefore": self._cloud.date(event.not_before).strftime("%d %b %Y %H:%M:%S GMT"),
                    "Code": event.code,
                    "Description": event.description,
                    "EventId": event.id,
                    "State": "active",
                }
                for event in instance.maintenance
            ]
        )

    def _document(self, instance: Instance) -> str:
        return json.dumps(
            {
                "accountId": ACCOUNT,
                "architecture": instance.offer.architecture,
                "availabilityZone": instance.subnet.zone,
                "imageId": instance.made["ImageId"],
                "instanceId": instance.id,
                "instanceType": instance.offer.name,
                "pendingTime": _iso(self._cloud.date(instance.launched_at)),
                "privateIp": instance.address,
                "region": REGION,
                "version": "2017-09-30",
            }
        )


def _iso(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _walk(tree: Tree, path: str) -> Tree | str | bytes | None:
    found: Any = tree
    for part in path.split("/"):
        if not part:
            continue
        if not isinstance(found, Mapping) or part not in found:
            return None
        found = found[part]
    if isinstance(found, Mapping | str | bytes):
        return found
    raise TypeError(path)


def _listing(tree: Tree) -> str:
    """A directory: what leads to another one ends in a slash."""
    return "\n".join(f"{name}/" if isinstance(inner, Mapping) else name for name, inner in sorted(tree.items()))


@asynccontextmanager
async def imds_served(imds: Imds, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[str]:
    """Serve over HTTP, on a free port unless one is given; its URL."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", imds.handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        yield f"http://{host}:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
