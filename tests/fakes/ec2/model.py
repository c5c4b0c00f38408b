"""What exists in the fake account: instances, volumes, launch templates, and what has been announced for them."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from tests.fakes.ec2.catalog import Subnet, TypeOffer
from tests.fakes.ec2.policies import Policy
from tests.fakes.ec2.wire import Params


class State(Enum):
    """The states of an instance, with EC2's numbers."""

    PENDING = "pending", 0
    RUNNING = "running", 16
    SHUTTING_DOWN = "shutting-down", 32
    TERMINATED = "terminated", 48
    STOPPING = "stopping", 64
    STOPPED = "stopped", 80

    @property
    def word(self) -> str:
        """As a filter names it."""
        return str(self.value[0])

    @property
    def code(self) -> int:
        """As an answer carries it beside the word."""
        return int(self.value[1])


ALIVE = (State.PENDING, State.RUNNING, State.STOPPING, State.SHUTTING_DOWN)  # count against vCPU quotas
ENDED = (State.SHUTTING_DOWN, State.TERMINATED)


@dataclass
class Volume:
    """A volume of EBS, attached from launch on."""

    id: str
    number: int
    instance: str
    device: str
    zone: str
    size_gib: int
    kind: str
    encrypted: bool
    snapshot: str
    initialization_rate: int | None
    delete_on_termination: bool
    created_at: float
    tags: dict[str, str]
    available: bool = False  # left over from an instance that is gone


@dataclass(frozen=True)
class Maintenance:
    """A scheduled event: ``instance-retirement``, ``instance-stop``, ``system-reboot``…"""

    id: str
    code: str
    description: str
    not_before: float


@dataclass
class Instance:
    """One machine.

    Args:
        made: from what: parameters of RunInstances and launch template merged.
        listed_from: when listings begin to show it.
        lag: how many seconds listings are late for it.
        boots: how often it has become ``running``.
        user_data: decoded.
    """

    id: str
    number: int
    reservation: str
    made: Params
    offer: TypeOffer
    subnet: Subnet
    address: str
    spot: bool
    token: str
    launched_at: float
    listed_from: float
    lag: float
    tags: dict[str, str]
    user_data: bytes
    public_address: str | None = None
    spot_request: str | None = None
    state: State = State.PENDING
    phase: int = 0
    boots: int = 0
    history: list[tuple[float, State]] = field(default_factory=list)
    reason: tuple[str, str] | None = None  # code and message of the last transition
    volumes: list[Volume] = field(default_factory=list)
    maintenance: list[Maintenance] = field(default_factory=list)
    interruption_at: float | None = None  # a spot instance's end, as announced inside
    rebalance_at: float | None = None  # when a higher risk of interruption was announced inside
    forgotten: bool = False
    protected: bool = False  # disableApiTermination

    def option(self, group: str, name: str, default: object) -> object:
        """A parameter in a group of parameters, for instance of MetadataOptions."""
        return self.made.get(group, {}).get(name, default)

    def state_at(self, moment: float) -> State:
        """What its state was then; the first one before its time."""
        seen = self.history[0][1]
        for at, state in self.history:
            if at > moment:
                break
            seen = state
        return seen


@dataclass
class Template:
    """A launch template and its versions by number."""

    id: str
    number: int
    name: str
    created_at: float
    tags: dict[str, str]
    versions: dict[int, TemplateVersion] = field(default_factory=dict)
    default: int = 1

    @property
    def latest(self) -> int:
        """The highest number in use."""
        return max(self.versions)


@dataclass(frozen=True)
class TemplateVersion:
    """One version: what a machine is made from."""

    number: int
    data: Params
    description: str
    created_at: float


@dataclass(frozen=True)
class Principal:
    """Whose access key it is.

    Args:
        arn: whose.
        denied: permissions, as ``ec2:RunInstances``.
        event: touches only what exists and has this value in the tag ``mux:event``; empty for anything.
        policy: all that it may do in EC2; None for everything.
    """

    arn: str
    denied: frozenset[str] = frozenset()
    event: str = ""
    policy: Policy | None = None


@dataclass(frozen=True)
class Call:
    """One request, as it went: for tables of calls per ship, and for assertions about pace."""

    at: float
    action: str
    code: str = ""
    fault: str = ""
