"""The account: what exists, what is allowed, and how it goes on by itself while time passes.

Owns every transition of an instance. Knows neither requests nor answers. All time is the timeline's: a test advances
it, or :mod:`tests.fakes.ec2.serving` lets it follow an event loop.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import blake2b

from tests.fakes.ec2.catalog import ACCOUNT, Catalog
from tests.fakes.ec2.errors import ApiError
from tests.fakes.ec2.limits import Buckets, Quotas
from tests.fakes.ec2.model import ALIVE, ENDED, Call, Instance, Maintenance, Principal, State, Template, Volume
from tests.sim.clock import Dice, Timeline

KEY_ID = "AKIDEXAMPLE"
BEGINNING = datetime(2026, 11, 2, 8, 0, tzinfo=UTC)
SPOT_NOTICE_S = 120.0
Pool = tuple[str, str, bool]  # type, zone, spot


@dataclass(frozen=True)
class Settings:
    """How the fake behaves. Ranges are drawn from by seed and instance.

    Args:
        boot_s: ``pending`` → ``running``.
        stop_s: ``stopping`` → ``stopped``.
        end_s: ``shutting-down`` → ``terminated``.
        unlisted_s: how long a new instance is missing from listings, and unknown by id.
        lag_s: how late listings tell a change of state.
        ended_listed_s: how long a terminated instance stays listed.
        fleet_pools_tried: an instant fleet tries no more pools than that and answers ``UnfulfillableCapacity`` for
            the rest.
        page_size: what a listing without MaxResults is cut at.
        spot_role: the account has the role that spot orders need.
    """

    boot_s: tuple[float, float] = (8, 40)
    stop_s: tuple[float, float] = (5, 30)
    end_s: tuple[float, float] = (5, 40)
    unlisted_s: tuple[float, float] = (0, 6)
    lag_s: tuple[float, float] = (0, 2)
    ended_listed_s: float = 3600
    fleet_pools_tried: int = 3
    page_size: int = 1000
    spot_role: bool = True
    quotas: Quotas = field(default_factory=Quotas)


PROMPT = Settings(boot_s=(2, 2), stop_s=(2, 2), end_s=(2, 2), unlisted_s=(0, 0), lag_s=(0, 0))


@dataclass
class Behind:
    """What stands behind instances: nothing, unless a rig sets these. They are called as things happen."""

    on_running: Callable[[Instance], object] = lambda _instance: None
    on_stopped: Callable[[Instance], object] = lambda _instance: None
    on_terminated: Callable[[Instance], object] = lambda _instance: None


class _WatchedTimeline(Timeline):
    """Tells when something new is planned, so that whoever drives it can set an alarm."""

    def __init__(self) -> None:
        super().__init__()
        self.planned: Callable[[], object] = lambda: None

    def after(self, seconds: float, act: Callable[..., object], *args: object) -> None:
        super().after(seconds, act, *args)
        self.planned()


class Cloud:
    """One account in one region.

    Args:
        seed: of every delay and id.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        catalog: Catalog | None = None,
        *,
        seed: int = 0,
        buckets: Buckets | None = None,
    ) -> None:
        self.settings = settings or Settings()
        self.catalog = catalog or Catalog()
        self.buckets = buckets or Buckets()
        self.dice = Dice(seed)
        self.timeline = _WatchedTimeline()
        self.behind = Behind()
        self.clock: Callable[[], float] | None = None  # what time follows; None: the test advances it
        self.keys = {KEY_ID: Principal(f"arn:aws:iam::{ACCOUNT}:user/organizer")}
        self.instances: dict[str, Instance] = {}
        self.volumes: dict[str, Volume] = {}
        self.templates: dict[str, Template] = {}
        self.capacity: dict[Pool, int] = {}  # how many more a pool gives; without an entry: as many as you like
        self.calls: list[Call] = []
        self._gone: dict[Pool, float] = {}
        self._addresses = {subnet.id: list(reversed(subnet.addresses)) for subnet in self.catalog.subnets}
        self._made: Counter[str] = Counter()

    # Time and names

    @property
    def now(self) -> float:
        """Seconds since the beginning."""
        return self.timeline.now

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.timeline.run(self.timeline.now + seconds)

    def catch_up(self) -> None:
        """Let happen what is due by the clock. To be called whenever somebody from outside looks."""
        if self.clock is not None:
            self.timeline.run(self.clock())

    def date(self, seconds: float) -> datetime:
        """A moment as answers carry it."""
        return BEGINNING + timedelta(seconds=seconds)

    def new_id(self, prefix: str, length: int = 17) -> str:
        """The next id of a kind, as ``i-0123456789abcdef0``."""
        self._made[prefix] += 1
        what = f"{prefix} {self._made[prefix]} {self.dice.roll(prefix)}"
        return f"{prefix}-{blake2b(what.encode()).hexdigest()[:length]}"

    def next_number(self) -> int:
        """Rises with everything that is made, in the order of listings."""
        self._made["number"] += 1
        return self._made["number"]

    # What there is room for

    def pool_left(self, pool: Pool) -> int | None:
        """How many instances a pool still gives; None without a bound."""
        if self._gone.get(pool, 0.0) > self.now:
            return 0
        return self.capacity.get(pool)

    def capacity_gone(self, type_name: str, zone: str, *, spot: bool = False, for_s: float) -> None:
        """Have a pool give nothing for a while."""
        self._gone[type_name, zone, spot] = self.now + for_s

    def free_addresses(self, subnet: str) -> int:
        """How many addresses a subnet has left."""
        return len(self._addresses[subnet])

    def take_address(self, subnet: str) -> str:
        """The next free address of a subnet."""
        return self._addresses[subnet].pop()

    def vcpu_in_use(self, *, spot: bool) -> int:
        """What counts against the quota of standard instances."""
        return sum(
            instance.offer.vcpu
            for instance in self.instances.values()
            if instance.spot == spot and instance.offer.standard and instance.state in ALIVE
        )

    def storage_gib(self, kind: str) -> int:
        """All volumes of a kind, attached or not, of running and of stopped instances."""
        return sum(volume.size_gib for volume in self.volumes.values() if volume.kind == kind)

    # An instance's life

    def add(self, instance: Instance, volumes: list[Volume], *, refused: str = "") -> None:
        """A machine has been asked for. ``refused``: it will end at once instead of booting, for this reason."""
        self.instances[instance.id] = instance
        self._use_pool(instance, 1)
        self._enter(instance, State.PENDING)
        if refused:
            code = refused.partition(":")[0]
            self.timeline.after(1.0, self._end, instance, instance.phase, (code, refused))
            return
        instance.volumes = volumes
        self.volumes |= {volume.id: volume for volume in volumes}
        self._boot(instance)

    def start(self, instance: Instance) -> None:
        """A stopped instance is asked to start."""
        self._use_pool(instance, 1)
        self._enter(instance, State.PENDING)
        self._boot(instance)

    def stop(self, instance: Instance, reason: tuple[str, str]) -> None:
        """An instance is asked to stop."""
        self._enter(instance, State.STOPPING, reason)
        self._later(self.settings.stop_s, "stop", instance, self._stopped)

    def terminate(self, instance: Instance, reason: tuple[str, str]) -> None:
        """An instance is asked to end; one that has ended stays so."""
        if instance.state in ENDED:
            return
        was_stopped = instance.state is State.STOPPED
        self._enter(instance, State.SHUTTING_DOWN, reason)
        if was_stopped:
            self._use_pool(instance, 1)  # given back when it is gone, as for any other
        self._later(self.settings.end_s, "end", instance, self._terminated)

    def shut_down_from_within(self, instance_id: str) -> None:
        """The machine powers itself off: it stops or ends, as it was launched to."""
        instance = self.instances[instance_id]
        reason = ("Client.InstanceInitiatedShutdown", "Client.InstanceInitiatedShutdown: Instance initiated shutdown")
        if instance.made.get("InstanceInitiatedShutdownBehavior") == "terminate" or instance.spot:
            self.terminate(instance, reason)
        else:
            self.stop(instance, reason)

    def recommend_rebalance(self, instance_id: str) -> None:
        """Announce inside a spot instance that it is more likely than before to be interrupted."""
        self.instances[instance_id].rebalance_at = self.now

    def interrupt(self, instance_id: str, notice_s: float = SPOT_NOTICE_S) -> None:
        """Announce inside a spot instance that it ends, and end it then."""
        instance = self.instances[instance_id]
        if not instance.spot:
            raise ValueError(f"{instance_id} is no spot instance")
        instance.interruption_at = self.now + notice_s
        reason = ("Server.SpotInstanceTermination", "Server.SpotInstanceTermination: Spot instance termination")
        self.timeline.after(notice_s, self.terminate, instance, reason)

    def schedule_retirement(self, instance_id: str, in_s: float, code: str = "instance-retirement") -> None:
        """Announce that the hardware goes away; the instance stops then."""
        instance = self.instances[instance_id]
        event = Maintenance(
            self.new_id("instance-event"), code, "The instance is running on degraded hardware", self.now + in_s
        )
        instance.maintenance.append(event)
        reason = ("Server.ScheduledStop", "Server.ScheduledStop: Stopped due to a scheduled retirement")
        self.timeline.after(in_s, self._retire, instance, reason)

    def _retire(self, instance: Instance, reason: tuple[str, str]) -> None:
        if instance.state is State.RUNNING:
            (self.terminate if instance.spot else self.stop)(instance, reason)

    def _boot(self, instance: Instance) -> None:
        self._later(self.settings.boot_s, "boot", instance, self._running)

    def _later(
        self, span: tuple[float, float], what: str, instance: Instance, act: Callable[[Instance, int], None]
    ) -> None:
        delay = self.dice.between(*span, what, instance.number, instance.phase)
        self.timeline.after(delay, act, instance, instance.phase)

    def _running(self, instance: Instance, phase: int) -> None:
        if instance.phase == phase:
            instance.boots += 1
            self._enter(instance, State.RUNNING)
            self.behind.on_running(instance)

    def _stopped(self, instance: Instance, phase: int) -> None:
        if instance.phase == phase:
            self._enter(instance, State.STOPPED, instance.reason)
            instance.public_address = None
            self._use_pool(instance, -1)
            self.behind.on_stopped(instance)

    def _end(self, instance: Instance, phase: int, reason: tuple[str, str]) -> None:
        if instance.phase == phase:
            instance.reason = reason
            self._terminated(instance, phase)

    def _terminated(self, instance: Instance, phase: int) -> None:
        if instance.phase != phase:
            return
        self._enter(instance, State.TERMINATED, instance.reason)
        self._use_pool(instance, -1)
        self._addresses[instance.subnet.id].append(instance.address)
        for volume in instance.volumes:
            if volume.delete_on_termination:
                del self.volumes[volume.id]
            else:
                volume.available = True
        self.timeline.after(self.settings.ended_listed_s, self._forget, instance)
        self.behind.on_terminated(instance)

    def _forget(self, instance: Instance) -> None:
        instance.forgotten = True

    def _enter(self, instance: Instance, state: State, reason: tuple[str, str] | None = None) -> None:
        instance.state = state
        instance.reason = reason
        instance.phase += 1
        instance.history.append((self.now, state))

    def _use_pool(self, instance: Instance, count: int) -> None:
        pool = (instance.offer.name, instance.subnet.zone, instance.spot)
        if pool in self.capacity:
            self.capacity[pool] -= count

    # Looking things up as requests do

    def find(self, instance_id: str) -> Instance:
        """An instance by id, as far as the API knows it by now. Raises ``InvalidInstanceID…``."""
        if not instance_id.startswith("i-"):
            raise ApiError("InvalidInstanceID.Malformed", f'Invalid id: "{instance_id}"')
        instance = self.instances.get(instance_id)
        if instance is None or not self.listed(instance):
            raise ApiError("InvalidInstanceID.NotFound", f"The instance ID '{instance_id}' does not exist")
        return instance

    def listed(self, instance: Instance) -> bool:
        """Whether listings show an instance by now."""
        return instance.listed_from <= self.now and not instance.forgotten

    def listed_state(self, instance: Instance) -> State:
        """What listings say about an instance by now."""
        return instance.state_at(self.now - instance.lag)
