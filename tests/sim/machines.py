"""Simulated machines: what runs on one, who it belongs to, and which ports are held. This is the ground truth.

Rules of the world, as a real runtime keeps them: one workspace listens on a port; files live until they are removed;
a reboot ends what runs and keeps files and images; an action may fail, and then says why.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Protocol

from mux.core.model import MachineStatus, ShipId
from ship_agent.protocol.messages import Desired, StartedOver
from ship_agent.runtimes.base import RunningWorkspace, RuntimeFailure, WorkspaceSpec
from ship_agent.step import Action, ForgetImage, Note, Pull, Remove, Start, StartOver, Stop
from tests.sim.clock import Dice
from tests.sim.rollout import FAILING, FAILS_SWAPPED, HANGING, HANGS_SWAPPED, UNPULLABLE


@dataclass
class Truth:
    """What is true of one workspace, beyond what the runtime tells.

    Args:
        owners: everybody whom it was ever bound to, by the receipts that came with it.
        secrets_of: whose secrets it was last started with; empty if nobody's.
        answers_at: when it answers, if it runs so long.
        answered_on: ports on which it has answered.
        ran: images that it was ever started on.
        saved: all that it left when it was stopped is in a snapshot.
    """

    owners: set[str] = field(default_factory=set)
    secrets_of: str = ""
    answers_at: float = 0.0
    answered_on: set[int] = field(default_factory=set)
    ran: set[str] = field(default_factory=set)
    saved: bool = False


class Watch(Protocol):
    """Told before and after every action on a machine."""

    def __call__(self, machine: SimMachine, action: Action, *, done: bool) -> None:
        """``done`` afterwards."""


def _nobody(machine: SimMachine, action: Action, *, done: bool) -> None:
    """Nobody watches."""


@dataclass
class Registry:
    """Where every machine gets its images.

    Args:
        away_until: it does not answer before that.
    """

    away_until: float = 0.0

    def pull(self, digest: str, now: float) -> None:
        """Raises RuntimeFailure as ships do that get no image."""
        if now < self.away_until:
            raise RuntimeFailure("registry_away", "the registry does not answer", retryable=True)
        if digest == UNPULLABLE:
            raise RuntimeFailure("image_missing", "the registry has no such image")


class SimMachine:
    """One machine. It outlives its agents; its disk outlives its boots.

    Args:
        ship: whose machine it is.
        host: address, known to the provider.
        port_first, port_count: the range that workspaces may publish.
        key: the agent's public key, 64 hex digits.
        dice: the luck of this run.
        registry: where its images are had.
    """

    def __init__(
        self, ship: ShipId, host: str, port_first: int, port_count: int, *, key: str, dice: Dice, registry: Registry
    ) -> None:
        self.ship = ship
        self.host = host
        self.port_first = port_first
        self.port_count = port_count
        self.key = key
        self.status = MachineStatus.PENDING
        self.up = False
        self.boot = 0
        self.partitioned = False
        self.path_cut = False
        self.deaf = False
        self.hostile = False
        self.ever_hostile = False
        self.failing_until = 0.0
        self.disk: Desired | None = None
        self.images: set[str] = set()
        self.workspaces: dict[str, RunningWorkspace] = {}
        self.truth: dict[str, Truth] = {}
        self.started_over: dict[str, StartedOver] = {}
        self.foreign_ports: set[int] = set()
        self.answered: set[str] = set()
        self.noted: dict[str, int] = {}
        self.watch: Watch = _nobody
        self._dice = dice
        self._registry = registry
        self._starts = 0

    # --- the world looks --------------------------------------------------------------------------------------------

    def listening(self, port: int) -> str | None:
        """The workspace behind a port, or None."""
        if not self.up:
            return None
        return next((w.id for w in self.workspaces.values() if w.state == "running" and w.port == port), None)

    def healthy(self, now: float) -> Iterator[RunningWorkspace]:
        """Workspaces that answer."""
        for here in self.workspaces.values():
            truth = self.truth[here.id]
            if self.up and here.state == "running" and truth.answers_at <= now:
                truth.answered_on.add(here.port)
                self.answered.add(here.digest)
                yield here

    def answers_next(self, now: float) -> float | None:
        """When the next workspace starts to answer."""
        coming = [
            truth.answers_at
            for here in self.workspaces.values()
            if here.state == "running" and (truth := self.truth[here.id]).answers_at > now
        ]
        return min(coming, default=None)

    # --- what happens to it -----------------------------------------------------------------------------------------

    def boots(self) -> None:
        """A new boot: nothing runs, files and images are kept."""
        self.boot += 1
        self.up = True
        self.status = MachineStatus.RUNNING
        self.workspaces = {name: replace(here, state="exited") for name, here in self.workspaces.items()}
        self.foreign_ports.clear()

    def stops(self) -> None:
        """Switched off, cleanly or not."""
        self.up = False

    def crashes(self, pick: int, now: float) -> None:
        """A running workspace exits."""
        running = [here for here in self.workspaces.values() if here.state == "running"]
        if running:
            here = running[pick % len(running)]
            self.workspaces[here.id] = replace(here, state="exited", exit_code=1, failure="exited", detail="exited")

    def loses_port(self, pick: int) -> int | None:
        """A running workspace exits, one that is somebody's if there is any, and another program takes its port."""
        running = [here for here in self.workspaces.values() if here.state == "running"]
        running = [here for here in running if here.epoch] or running
        if not running:
            return None
        here = running[pick % len(running)]
        self.workspaces[here.id] = replace(here, state="exited", exit_code=1, failure="exited", detail="exited")
        self.foreign_ports.add(here.port)
        return here.port

    def hangs(self, pick: int, until: float) -> None:
        """A running workspace stops to answer for a while."""
        running = [here for here in self.workspaces.values() if here.state == "running"]
        if running:
            self.truth[running[pick % len(running)].id].answers_at = until

    # --- what an agent does -----------------------------------------------------------------------------------------

    def takes_s(self, action: Action) -> float:
        """How long an action takes, in seconds."""
        low, high = {
            Pull: (0.5, 8.0), Start: (0.05, 0.5), Note: (0.01, 0.02), Stop: (0.05, 1.5), Remove: (0.01, 0.1),
            ForgetImage: (0.01, 0.1), StartOver: (0.05, 1.0),
        }[type(action)]  # fmt: skip
        self._starts += 1
        return self._dice.between(low, high, "action", self.ship, self.boot, self._starts)

    def carry_out(self, action: Action, now: float) -> None:
        """An action comes to its end. Raises RuntimeFailure."""
        self.watch(self, action, done=False)
        self._carry_out(action, now)
        self.watch(self, action, done=True)

    def _carry_out(self, action: Action, now: float) -> None:
        match action:
            case Pull(_, digest):
                self._registry.pull(digest, now)
                self.images.add(digest)
            case ForgetImage(digest):
                self.images.discard(digest)
            case Start(spec):
                self._start(spec, now)
            case Note(spec):
                here = self.workspaces.get(spec.id)
                if here is not None:
                    self._bound(spec)
                    self.workspaces[spec.id] = replace(here, epoch=spec.epoch)
            case Stop(workspace):
                here = self.workspaces.get(workspace)
                if here is not None:
                    self.workspaces[workspace] = replace(here, state="exited", exit_code=0, failure="", detail="")
            case StartOver(spec, wish):
                here = self.workspaces.get(spec.id)
                able = here is not None and (here.state != "running" or bool(wish.path)) and self.failing_until <= now
                self.started_over[spec.id] = StartedOver(number=wish.number, done=able)
            case Remove(workspace):
                self.workspaces.pop(workspace, None)
                self.started_over.pop(workspace, None)

    def _bound(self, spec: WorkspaceSpec) -> None:
        if spec.receipt:
            self.truth.setdefault(spec.id, Truth()).owners.add(spec.receipt.split("|")[1])

    def _start(self, spec: WorkspaceSpec, now: float) -> None:
        here = self.workspaces.get(spec.id)
        if here is not None and here.state == "running":
            return
        if spec.port in self.foreign_ports or self.listening(spec.port) is not None:
            raise RuntimeFailure("port_in_use", "another program holds the port", retryable=True)
        swapped = here is not None and bool(spec.receipt) and here.digest != spec.digest
        fails = spec.project.name == "bad" or self.failing_until > now or spec.digest == FAILING
        fails = fails or (swapped and spec.digest == FAILS_SWAPPED)
        self._bound(spec)
        truth = self.truth.setdefault(spec.id, Truth())
        truth.ran.add(spec.digest)
        truth.saved = False
        truth.secrets_of = spec.secrets.get("OWNER", "")
        starts = here.starts + 1 if here else 1
        truth.answers_at = now + self._dice.between(0.3, 5.0, "answers", spec.id, starts)
        if spec.digest == HANGING or (swapped and spec.digest == HANGS_SWAPPED):
            truth.answers_at = float("inf")
        self.workspaces[spec.id] = RunningWorkspace(
            id=spec.id,
            state="exited" if fails else "running",
            run_key=spec.run_key(),
            seat=spec.seat,
            project=spec.project.name,
            digest=spec.digest,
            port=spec.port,
            epoch=spec.epoch,
            exit_code=1 if fails else None,
            failure="exited" if fails else "",
            detail="it exited with 1" if fails else "",
            started_at=now,
            starts=starts,
        )
