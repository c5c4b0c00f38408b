"""How much one account may ask for: token buckets for requests and for instances, and the service quotas.

The buckets are EC2's published ones (capacity, refill a second); a test may set others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.fakes.ec2.errors import throttled
from tests.fakes.ec2.wire import Params

Rate = tuple[float, float]  # capacity, refill a second

DESCRIBE: Rate = (100, 20)
DESCRIBE_ALL: Rate = (50, 10)  # neither filter nor page size
MUTATE: Rate = (50, 5)
REQUESTS: Mapping[str, Rate] = {
    "RunInstances": (5, 2),
    "StartInstances": (5, 2),
    "TerminateInstances": (100, 5),
    "CreateTags": (100, 10),
}
# Launched by whatever call, and started: one bucket.
INSTANCES: Mapping[str, Rate] = {"launch": (1000, 2), "terminate": (1000, 20), "stop": (1000, 20)}


@dataclass(frozen=True)
class Quotas:
    """The service quotas of the account.

    Args:
        on_demand_vcpu: running on-demand standard instances (``ec2/L-1216C47A``).
        spot_vcpu: standard spot requests (``ec2/L-34B43A08``).
        gp3_tib: general purpose SSD storage (``ebs/L-7A658B76``).
        gp2_tib: the older kind (``ebs/L-D18FCD1D``).
        told: of other families, in vCPUs by code: Service Quotas tells them, and nothing here holds them up.
    """

    on_demand_vcpu: int = 100_000
    spot_vcpu: int = 100_000
    gp3_tib: float = 50
    gp2_tib: float = 50
    told: Mapping[str, float] = field(default_factory=dict)

    def value(self, service: str, code: str) -> tuple[str, float] | None:
        """A quota's name and value as Service Quotas tells them."""
        others = {("ec2", each): (f"Quota {each}, in vCPUs", value) for each, value in self.told.items()}
        return {
            **others,
            ("ec2", "L-1216C47A"): (
                "Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances",
                float(self.on_demand_vcpu),
            ),
            ("ec2", "L-34B43A08"): (
                "All Standard (A, C, D, H, I, M, R, T, Z) Spot Instance Requests",
                float(self.spot_vcpu),
            ),
            ("ebs", "L-7A658B76"): ("Storage for General Purpose SSD (gp3) volumes, in TiB", self.gp3_tib),
            ("ebs", "L-D18FCD1D"): ("Storage for General Purpose SSD (gp2) volumes, in TiB", self.gp2_tib),
        }.get((service, code))


@dataclass
class TokenBucket:
    """Holds so many tokens and gains so many a second."""

    capacity: float
    refill: float
    tokens: float = field(init=False)
    at: float = 0.0

    def __post_init__(self) -> None:
        self.tokens = self.capacity

    def take(self, count: float, now: float) -> bool:
        """Take so many tokens, or none if there are fewer."""
        self.tokens = min(self.capacity, self.tokens + (now - self.at) * self.refill)
        self.at = now
        if self.tokens + 1e-9 < count:
            return False
        self.tokens -= count
        return True


class Buckets:
    """The account's token buckets, made when they are first used.

    Args:
        requests: other rates by action.
        instances: other rates by ``launch``, ``terminate``, ``stop``.
    """

    def __init__(self, requests: Mapping[str, Rate] | None = None, instances: Mapping[str, Rate] | None = None) -> None:
        self._requests = {**REQUESTS, **(requests or {})}
        self._instances = {**INSTANCES, **(instances or {})}
        self._buckets: dict[str, TokenBucket] = {}

    def _bucket(self, name: str, rate: Rate) -> TokenBucket:
        if name not in self._buckets:
            self._buckets[name] = TokenBucket(*rate)
        return self._buckets[name]

    def request(self, action: str, params: Params, now: float) -> None:
        """Count a request. Raises ``RequestLimitExceeded``."""
        name, rate = action, self._requests.get(action)
        if rate is None:
            rate = MUTATE
            if action.startswith("Describe"):
                narrow = "Filters" in params or "MaxResults" in params
                name, rate = (action, DESCRIBE) if narrow else (f"{action} of all", DESCRIBE_ALL)
        if not self._bucket(name, rate).take(1, now):
            raise throttled()

    def take_instances(self, kind: str, count: int, now: float) -> None:
        """Count the instances of a request. Raises ``RequestLimitExceeded``."""
        if not self._bucket(f"instances: {kind}", self._instances[kind]).take(count, now):
            raise throttled()
