"""Facts about EC2, gathered through its API without changing anything.

Rules: dry runs and listings only; an action that fails is noted with its code, and the others go on.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession, get_session
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from mux.preflight import ec2_permissions
from mux.preflight.ec2_facts import (
    QUOTA_GP3,
    SPOT_ROLE,
    Ec2Facts,
    Ec2Wanted,
    MachineImageFacts,
    Quota,
    RuleFacts,
    SubnetFacts,
    TypeFacts,
)
from mux.preflight.ec2_permissions import TAG_EVENT
from mux.providers.ec2.answers import NOT_AWS_CODE, is_answer

ANSWER_S = 30.0
ATTEMPTS_MAX = 3
"""Of one call: a preflight is a person's, and few; throttling passes in a second."""
PAGES_MAX = 200
"""Of one listing, with up to 1,000 entries each."""
RUNNING = ("pending", "running", "stopping", "shutting-down")
"""States that count against vCPU quotas."""
SYSTEM = "Linux/UNIX"
"""What EC2's prices call a system that costs nothing by itself."""


class Ec2Gatherer:
    """Asks EC2, IAM, STS and Service Quotas.

    Args:
        wanted: what the event asks for.
        session: of aiobotocore.
        options: more for every client; tests name an endpoint and keys.
    """

    def __init__(
        self, wanted: Ec2Wanted, session: AioSession | None = None, options: Mapping[str, Any] | None = None
    ) -> None:
        self._wanted = wanted
        self._session = session or get_session()
        self._options = dict(options or {})
        self._faults: dict[str, str] = {}

    async def facts(self) -> Ec2Facts:
        """Everything. Never raises for what the cloud says: see `Ec2Facts.faults`."""
        config = AioConfig(
            connect_timeout=ANSWER_S, read_timeout=ANSWER_S, retries={"total_max_attempts": ATTEMPTS_MAX}
        )
        options = {"region_name": self._wanted.region, "config": config, **self._options}
        ec2_options = {"endpoint_url": self._wanted.endpoint} if self._wanted.endpoint else {}
        async with AsyncExitStack() as stack:
            make = self._session.create_client
            sts = await stack.enter_async_context(make("sts", **options))
            ec2 = await stack.enter_async_context(make("ec2", **{**options, **ec2_options}))
            quotas = await stack.enter_async_context(make("service-quotas", **options))
            caller, skew_s = await self._caller(sts)
            if not caller:
                return Ec2Facts(skew_s=skew_s, faults=self._faults)
            facts = await self._described(ec2)
            found = await self._quotas(quotas, facts)
            codes = await ec2_permissions.tried(ec2, self._wanted, facts.ship_instance)
        simulated, why_not = await ec2_permissions.simulated(
            lambda: make("iam", **options), caller, self._wanted, codes, facts.ship_instance
        )
        spot_role = await self._spot_role(lambda: make("iam", **options)) if True in self._wanted.markets else None
        faults = self._faults | ({"iam:SimulatePrincipalPolicy": why_not} if why_not else {})
        return replace(
            facts, account=f"account {caller.split(':')[4]}, {caller}", skew_s=skew_s, quotas=found, permissions=codes,
            simulated=simulated, spot_role=spot_role, faults=faults,
        )  # fmt: skip

    async def _caller(self, sts: Any) -> tuple[str, float | None]:
        """The ARN of who asks, empty for nobody; and this machine's clock ahead of the cloud's."""
        answer = await self._ask("GetCallerIdentity", sts.get_caller_identity)
        if not answer:
            return "", None
        date = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
        skew_s = time.time() - parsedate_to_datetime(date).timestamp() if date else None
        return str(answer["Arn"]), skew_s

    async def _spot_role(self, client: Callable[[], AbstractAsyncContextManager[Any]]) -> bool | None:
        """Whether the account has the role of spot orders; None where IAM does not say."""
        async with client() as iam:
            if await self._ask("iam:GetRole", iam.get_role, RoleName=SPOT_ROLE):
                return True
        return False if self._faults["iam:GetRole"] == "NoSuchEntity" else None

    async def _described(self, ec2: Any) -> Ec2Facts:
        wanted = self._wanted
        types, subnets, rules, image, gp3_gib = await asyncio.gather(
            self._types(ec2, wanted.instance_types),
            self._subnets(ec2),
            self._rules(ec2),
            self._machine_image(ec2),
            self._gp3_gib(ec2),
        )
        vcpus, ships, parked = await self._running(ec2, {each.name: each for each in types})
        spot_prices = await self._spot_prices(ec2, subnets) if True in wanted.markets else {}
        return Ec2Facts(
            types=types,
            subnets=subnets,
            rules=rules,
            machine_image=image,
            gp3_gib=gp3_gib,
            vcpus=vcpus,
            ships=len(ships),
            parked=parked,
            ship_instance=next(iter(ships), ""),
            spot_prices=spot_prices,
        )

    # -- listings -----------------------------------------------------------------------------------------------------

    async def _types(self, ec2: Any, names: tuple[str, ...]) -> tuple[TypeFacts, ...]:
        filters = [{"Name": "instance-type", "Values": sorted(set(names))}]
        zones: dict[str, set[str]] = {}
        async for page in self._pages(
            "DescribeInstanceTypeOfferings", ec2.describe_instance_type_offerings,
            LocationType="availability-zone", Filters=filters,
        ):  # fmt: skip
            for offer in page["InstanceTypeOfferings"]:
                zones.setdefault(offer["InstanceType"], set()).add(offer["Location"])
        found = {}
        async for page in self._pages("DescribeInstanceTypes", ec2.describe_instance_types, Filters=filters):
            for each in page["InstanceTypes"]:
                name = each["InstanceType"]
                found[name] = TypeFacts(
                    name,
                    each["VCpuInfo"]["DefaultVCpus"],
                    each["MemoryInfo"]["SizeInMiB"],
                    frozenset(each["ProcessorInfo"]["SupportedArchitectures"]),
                    frozenset(zones.get(name, ())),
                )
        return tuple(found[name] for name in names if name in found)

    async def _subnets(self, ec2: Any) -> tuple[SubnetFacts, ...]:
        answer = await self._ask("DescribeSubnets", ec2.describe_subnets, SubnetIds=list(self._wanted.subnets))
        return tuple(
            SubnetFacts(
                each["SubnetId"], each["AvailabilityZone"], each["AvailableIpAddressCount"], each.get("CidrBlock", "")
            )
            for each in answer.get("Subnets", ())
        )

    async def _spot_prices(self, ec2: Any, subnets: tuple[SubnetFacts, ...]) -> dict[str, float]:
        """The price now, which EC2 tells as the last one before a time that is not past."""
        zones = {subnet.zone for subnet in subnets}
        found: dict[str, float] = {}
        async for page in self._pages(
            "DescribeSpotPriceHistory", ec2.describe_spot_price_history, StartTime=datetime.now(UTC),
            InstanceTypes=sorted(set(self._wanted.instance_types)), ProductDescriptions=[SYSTEM],
        ):  # fmt: skip
            for each in page["SpotPriceHistory"]:
                if each["AvailabilityZone"] in zones:
                    kind = each["InstanceType"]
                    found[kind] = max(found.get(kind, 0.0), float(each["SpotPrice"]))
        return found

    async def _rules(self, ec2: Any) -> tuple[RuleFacts, ...]:
        # The ships' groups by name, so that a wrong one is told; and all of their network, for the mux's is not known.
        own = await self._ask(
            "DescribeSecurityGroups", ec2.describe_security_groups, GroupIds=list(self._wanted.security_groups)
        )
        networks = sorted({each["VpcId"] for each in own.get("SecurityGroups", ())})
        rules: list[RuleFacts] = []
        if networks:
            filters = [{"Name": "vpc-id", "Values": networks}]
            async for page in self._pages("DescribeSecurityGroups", ec2.describe_security_groups, Filters=filters):
                rules += [rule for group in page["SecurityGroups"] for rule in _rules_of(group)]
        return tuple(rules)

    async def _machine_image(self, ec2: Any) -> MachineImageFacts | None:
        answer = await self._ask("DescribeImages", ec2.describe_images, ImageIds=[self._wanted.image])
        for each in answer.get("Images", ()):
            sizes = [
                mapping.get("Ebs", {}).get("VolumeSize", 0)
                for mapping in each.get("BlockDeviceMappings", ())
                if mapping.get("DeviceName") == each.get("RootDeviceName")
            ]
            return MachineImageFacts(
                each["ImageId"], each["State"], each["Architecture"], max(sizes, default=0),
                each.get("ImdsSupport") == "v2.0",
            )  # fmt: skip
        return None

    async def _gp3_gib(self, ec2: Any) -> int:
        filters = [{"Name": "volume-type", "Values": ["gp3"]}]
        total = 0
        async for page in self._pages("DescribeVolumes", ec2.describe_volumes, Filters=filters, MaxResults=500):
            total += sum(volume["Size"] for volume in page["Volumes"])
        return total

    async def _running(
        self, ec2: Any, known: dict[str, TypeFacts]
    ) -> tuple[dict[Quota, int], list[str], dict[Quota, tuple[int, ...]]]:
        """vCPUs that count by quota, the instances of this event's ships, and the vCPUs of parked ones by quota."""
        filters = [{"Name": "instance-state-name", "Values": [*RUNNING, "stopped"]}]
        machines: list[tuple[str, bool, bool, bool]] = []
        ships: list[str] = []
        async for page in self._pages("DescribeInstances", ec2.describe_instances, Filters=filters, MaxResults=500):
            for each in (instance for one in page["Reservations"] for instance in one["Instances"]):
                tags = {tag["Key"]: tag["Value"] for tag in each.get("Tags", ())}
                if own := tags.get(TAG_EVENT) == self._wanted.event:
                    ships.append(each["InstanceId"])
                spot, runs = each.get("InstanceLifecycle") == "spot", each["State"]["Name"] in RUNNING
                machines.append((each["InstanceType"], spot, runs, own))
        others = tuple(sorted({kind for kind, *_ in machines} - set(known)))
        if others:
            known |= {each.name: each for each in await self._types(ec2, others)}
        vcpus: dict[Quota, int] = {}
        parked: dict[Quota, tuple[int, ...]] = {}
        for kind, spot, runs, own in machines:
            facts = known.get(kind)
            if facts is None or (quota := facts.quota(spot)) is None:
                continue
            if runs:
                vcpus[quota] = vcpus.get(quota, 0) + facts.vcpus
            elif own:
                parked[quota] = (*parked.get(quota, ()), facts.vcpus)
        return vcpus, ships, parked

    async def _quotas(self, service_quotas: Any, facts: Ec2Facts) -> dict[Quota, float]:
        """The values of every quota that the event's types, its disks and its parked ships count against."""
        every = {each.quota(spot) for each in facts.types for spot in (False, True)} | set(facts.parked)
        found: dict[Quota, float] = {}
        for quota in (*sorted(each for each in every if each is not None), QUOTA_GP3):
            answer = await self._ask(
                f"GetServiceQuota {quota[1]}", service_quotas.get_service_quota,
                ServiceCode=quota[0], QuotaCode=quota[1],
            )  # fmt: skip
            if answer:
                found[quota] = float(answer["Quota"]["Value"])
        return found

    # -- one call -----------------------------------------------------------------------------------------------------

    async def _ask(self, action: str, call: Callable[..., Awaitable[Any]], **parameters: Any) -> dict[str, Any]:
        """The answer, or nothing after noting the fault."""
        try:
            answer: dict[str, Any] = await call(**parameters)
        except ClientError as error:
            self._faults[action] = error.response["Error"]["Code"]
        except ResponseParserError:
            self._faults[action] = NOT_AWS_CODE
        except (BotoCoreError, OSError, TimeoutError) as error:
            self._faults[action] = type(error).__name__
        else:
            if is_answer(action.partition(" ")[0], answer):
                return answer
            self._faults[action] = NOT_AWS_CODE
        return {}

    async def _pages(
        self, action: str, call: Callable[..., Awaitable[Any]], **parameters: Any
    ) -> AsyncIterator[dict[str, Any]]:
        token = None
        for _ in range(PAGES_MAX):
            answer = await self._ask(action, call, **parameters, **({"NextToken": token} if token else {}))
            if not answer:
                return
            yield answer
            token = answer.get("NextToken")
            if not token:
                return
        self._faults[action] = f"more than {PAGES_MAX} pages"


def _rules_of(group: dict[str, Any]) -> list[RuleFacts]:
    rules = []
    for each in group.get("IpPermissions", ()):
        if each.get("IpProtocol") not in ("tcp", "-1"):
            continue
        first, last = (0, 65535) if each["IpProtocol"] == "-1" else (each["FromPort"], each["ToPort"])
        sources = [("", entry["CidrIp"]) for entry in each.get("IpRanges", ())]
        sources += [("", entry["CidrIpv6"]) for entry in each.get("Ipv6Ranges", ())]
        sources += [(entry["GroupId"], "") for entry in each.get("UserIdGroupPairs", ())]
        rules += [RuleFacts(group["GroupId"], first, last, *source) for source in sources]
    return rules
