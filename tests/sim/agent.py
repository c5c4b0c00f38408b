"""A simulated agent: the real `step`, `memory` and `report` in the order of `ship_agent.agent`, without its tasks.

It does as the real shell does: a desired state is on disk before it is acted on; a key is busy until its action was
seen to have ended; nothing is touched before the first desired state. Health checks are the machine's own truth;
those of an agent that finds workspaces running may come late, after its first reports.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ship_agent.memory import Memory, failed, of_specification, refused, seen
from ship_agent.protocol.messages import Desired, Observed, ObservedWorkspace, Resources
from ship_agent.report import observed_workspaces, phase, stage
from ship_agent.runtimes.base import RuntimeFailure
from ship_agent.step import (
    Action,
    DesiredError,
    ForgetImage,
    Note,
    Pull,
    Remove,
    Start,
    StartOver,
    Stop,
    Target,
    View,
    next_deadline,
    settled,
    step,
    target,
)
from tests.sim.clock import Dice, Timeline
from tests.sim.machines import SimMachine

RETRY_S = 5.0
SAVES_SLOWLY = 0.05
"""Share of workspaces whose files cannot be brought in time."""
HEARS_LATE = 0.5
HEARS_LATE_S = (0.0, 6.0)
"""Share of agents on a busy machine, whose first health checks of what they find running take so long."""
LIES = ("pulling", "starting", "healthy", "unhealthy", "restarting", "failed", "stopped")
RESOURCES = Resources(
    cpus=2, load_1m=0.5, memory_total_bytes=1, memory_available_bytes=1, disk_total_bytes=1, disk_free_bytes=1
)


class SimAgent:
    """One run of an agent.

    Args:
        machine: where it runs.
        time: virtual.
        dice: luck.
        changed: called when there is something new to say, or something new was done.
    """

    def __init__(self, machine: SimMachine, time: Timeline, dice: Dice, changed: Callable[[], None]) -> None:
        self.machine = machine
        self.alive = True
        self._time = time
        self._dice = dice
        self._changed = changed
        self._incoming: Desired | None = None
        self._target: Target | None = target(machine.disk) if machine.disk is not None else None
        self._view = View()
        self._memory: dict[str, Memory] = {}
        self._pulls: dict[str, Memory] = {}
        self._under_way: dict[str, Action] = {}
        self._busy: set[str] = set()
        self._outcomes: list[tuple[Action, RuntimeFailure | None]] = []
        self._saving: set[str] = set()
        self._saved: set[str] = set()
        self._reached = 0
        self._reported: object = None
        self._woken = False
        self._wakes_at = float("inf")
        self._lies = 0
        self._hears_at = time.now
        if machine.workspaces and dice.roll("hears late", machine.ship, time.now) < HEARS_LATE:
            self._hears_at += dice.between(*HEARS_LATE_S, "hears", machine.ship, time.now)
            time.at(self._hears_at, self._timer)
        self.wake()

    def take(self, desired: Desired) -> None:
        """The mux says what should be true."""
        self._incoming = desired
        self.wake()

    def wake(self) -> None:
        """Look again soon."""
        if not self._woken:
            self._woken = True
            self._time.after(0.002, self._work)

    def dies(self) -> None:
        """Killed. What was under way comes to its end without it, or not at all."""
        self.alive = False
        for key, action in self._under_way.items():
            if self.machine.up and self._dice.roll("half done", self.machine.ship, key, self._time.now) < 0.5:
                noted = self.machine.started_over.get(key)
                self._carry_out(action)
                if isinstance(action, StartOver) and self._dice.roll("not noted", key, self._time.now) < 0.5:
                    self.machine.started_over.pop(key)
                    self.machine.started_over |= {key: noted} if noted is not None else {}

    def observe(self) -> Observed:
        """What is so, or, on a hostile ship, what is not."""
        healthy = self._healthy()
        workspaces = observed_workspaces(
            self._target, self._view, healthy, {}, saved=self._saved, started_over=self.machine.started_over
        )
        generation = self._reached
        if self.machine.hostile:
            workspaces, generation = self._lie(workspaces)
        return Observed(
            seq=0,
            generation=generation,
            phase=phase(self._target, self._view, healthy),
            resources=RESOURCES,
            limits=["memory"],
            limits_missing=["shm"],
            workspaces=workspaces,
            stage=stage(self._target, self._view, workspaces),
        )

    def settled(self) -> bool:
        """Whether it has made true what it was told, as far as it can."""
        return self._target is not None and not self._busy and settled(self._target, self._view)

    def _lie(self, workspaces: list[ObservedWorkspace]) -> tuple[list[ObservedWorkspace], int]:
        self._lies += 1
        found = []
        for each in workspaces:
            dice = ("lie", self.machine.ship, self._lies, each.id)
            if self._dice.roll(*dice) < 0.2:
                continue
            change: dict[str, object] = {
                "state": self._dice.pick(LIES, *dice, "state"),
                "epoch": int(self._dice.between(0, 4, *dice, "epoch")),
                "reason": self._dice.pick(("", "exited", "port_in_use"), *dice, "why"),
            }
            if self._dice.roll(*dice, "whose") < 0.1:
                change["id"] = each.id.replace("ship-000", "ship-00", 1)
            found.append(each.model_copy(update=change))
        generations = (0, self._reached, self._reached + 1, self._reached + 7, 2**53 - 1)
        return found, self._dice.pick(generations, "lie", self.machine.ship, self._lies)

    def _work(self) -> None:
        self._woken = False
        if not self.alive:
            return
        now = self._time.now
        if self._incoming is not None:
            self._adopt(self._incoming)
        self._look(now)
        if self._target is not None:
            while (action := step(self._target, self._view, now)) is not None:
                self._begin(action)
            if settled(self._target, self._view):
                self._reached = self._target.generation
            self._wake_at(next_deadline(self._target, self._view))
            self._save(self._target)
        self.machine.noted = {identity: memory.starts for identity, memory in self._memory.items() if memory.answered}
        self._wake_at(self.machine.answers_next(now))
        view = self._view
        heard = (view.workspaces, view.memory, view.pulls, view.busy, view.started_over, frozenset(self._saved))
        said = (self._reached, self._target, *heard, self._healthy())
        if said != self._reported:
            self._reported = said
            self._changed()

    def _save(self, target: Target) -> None:
        """Bring what a workspace left that is stopped since its attendee leaves; now and then that takes too long."""
        for identity, wanted in target.workspaces.items():
            here = self._view.workspaces.get(identity)
            rests = (here is None or here.state != "running") and identity not in self._busy
            if wanted.wanted == "suspended" and rests and identity not in self._saving:
                self._saving.add(identity)
                slow = self._dice.roll("save", identity) < SAVES_SLOWLY
                took_s = 90.0 if slow else self._dice.between(0.1, 3.0, "saved", identity)
                self._time.after(took_s, self._has_saved, identity)

    def _has_saved(self, identity: str) -> None:
        if self.alive and self.machine.up:
            self._saved.add(identity)
            if identity in self.machine.truth:
                self.machine.truth[identity].saved = True
            self.wake()

    def _wake_at(self, when: float | None) -> None:
        if when is None or when == float("inf"):
            return
        if when < self._wakes_at or self._wakes_at <= self._time.now:
            self._wakes_at = when
            self._time.at(when, self._timer)

    def _timer(self) -> None:
        if self.alive:
            self.wake()

    def _adopt(self, desired: Desired) -> None:
        self._incoming = None
        try:
            found = target(desired)
        except DesiredError:
            return
        self.machine.disk = desired
        self._target = found

    def _look(self, now: float) -> None:
        outcomes, self._outcomes = self._outcomes, []
        workspaces = self.machine.workspaces
        for action, failure in outcomes:
            self._settle(action, failure, now)
        wanted = self._target.workspaces if self._target else {}
        healthy = self._healthy()
        for identity, here in workspaces.items():
            memory = self._memory.get(identity, Memory())
            if identity in wanted:
                memory = of_specification(memory, wanted[identity].run_key)
            age_s = now - here.started_at
            self._memory[identity] = seen(
                memory,
                here,
                healthy=identity in healthy,
                age_s=age_s,
                now=now,
                answered=self.machine.noted.get(identity) == here.starts,
            )
        for identity in self._memory.keys() - workspaces.keys() - wanted.keys():
            del self._memory[identity]
        needed = self._target.images if self._target else {}
        self._pulls = {digest: memory for digest, memory in self._pulls.items() if digest in needed}
        self._view = View(
            images=frozenset(self.machine.images),
            workspaces=dict(workspaces),
            memory=dict(self._memory),
            pulls=dict(self._pulls),
            busy=frozenset(self._busy),
            started_over={identity: said.number for identity, said in self.machine.started_over.items()},
        )

    def _settle(self, action: Action, failure: RuntimeFailure | None, now: float) -> None:
        key = _key(action)
        self._busy.discard(key)
        if isinstance(action, Pull):
            before = self._pulls.pop(key, Memory())
            if failure is not None:
                fatal = not failure.retryable
                self._pulls[key] = failed(before, failure.code, failure.detail, now=now, fatal=fatal)
        elif failure is not None and isinstance(action, Start):
            before = of_specification(self._memory.get(key, Memory()), action.spec.run_key())
            self._memory[key] = refused(before, failure, self.machine.workspaces.get(key), now=now)

    def _healthy(self) -> frozenset[str]:
        answers = frozenset(here.id for here in self.machine.healthy(self._time.now))
        return answers if self._time.now >= self._hears_at else frozenset()

    def _begin(self, action: Action) -> None:
        key = _key(action)
        self._busy.add(key)
        self._under_way[key] = action
        self._view = replace(self._view, busy=frozenset(self._busy))
        self._time.after(self.machine.takes_s(action), self._ended, action)

    def _ended(self, action: Action) -> None:
        if not self.alive:
            return
        del self._under_way[_key(action)]
        self._outcomes.append((action, self._carry_out(action)))
        self.wake()

    def _carry_out(self, action: Action) -> RuntimeFailure | None:
        match action:
            case Stop(workspace, _, "start_timeout"):
                code, why = "start_timeout", "no answer"
                self._memory[workspace] = failed(self._memory.get(workspace, Memory()), code, why, now=self._time.now)
        try:
            self.machine.carry_out(action, self._time.now)
        except RuntimeFailure as failure:
            return failure
        return None


def _key(action: Action) -> str:
    match action:
        case Pull(_, digest) | ForgetImage(digest):
            return digest
        case Start(spec) | Note(spec) | StartOver(spec):
            return spec.id
        case Stop(workspace) | Remove(workspace):
            return workspace
