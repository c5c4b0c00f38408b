"""One house: a mux, its provider, machines, agents, network and people, through a history and then peace.

`run` returns what happened or raises `BrokenRuleError`. In peace every fault has ended, organizers have said what only
they can say, and everything must come to rest.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from typing import Literal

from mux.core.commands import Command, Notify
from mux.core.events import (
    AttendeesActive,
    DoorsSet,
    Event,
    EventSpecApplied,
    FleetCooled,
    FleetParked,
    FleetUnparked,
    FleetWarmed,
    LaunchingSet,
    LoggedIn,
    LoggedOut,
    ProjectPushed,
    ProjectRequested,
    RolloutSteered,
    SeatReleased,
    ShipCordoned,
    ShipDeclaredLost,
    ShipDrained,
    ShipReleased,
    ShipReplaced,
    ShipReported,
    UpdateAccepted,
    UserRevoked,
)
from mux.core.model import (
    Doors,
    MachineStatus,
    ProjectName,
    SessionHash,
    ShipId,
    UserId,
)
from mux.core.rollout import Pace
from ship_agent.protocol.link import Identity
from ship_agent.step import Action as AgentAction
from tests.sim.actions import KILL_POINTS, PAGES, WISHES, Action, Scenario
from tests.sim.agent import SimAgent
from tests.sim.clock import Dice, Timeline
from tests.sim.event import HEARTBEAT_S, event_spec
from tests.sim.installing import install
from tests.sim.machines import SimMachine
from tests.sim.mux import SimMux
from tests.sim.network import Connection, Weather
from tests.sim.notebooks import Notebooks
from tests.sim.peace import make_peace
from tests.sim.provider import Provider
from tests.sim.rollout import image
from tests.sim.rules import BrokenRuleError, Rules
from tests.sim.traffic import Traffic
from tests.sim.wishes import wish

SESSION_S = (60.0, 2_000.0)
TRACE_MAX = 60
REDIAL_MAX_S = 10.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run was.

    Args:
        events: handled by the core.
        batches: calls of the core.
        virtual_s: seconds simulated.
        kinds: how often each kind of action happened.
    """

    events: int
    batches: int
    virtual_s: float
    kinds: Counter[str]


class House:
    """A house and what happens in it.

    Args:
        scenario: what happens.
        trace: keep the last things that happened, for a person.
        every: see `Rules`.
        rules: watches it.
    """

    def __init__(
        self,
        scenario: Scenario,
        *,
        trace: bool = False,
        every: int = 1,
        rules: Callable[[House, int], Rules] = Rules,
    ) -> None:
        self.scenario = scenario
        self.time = Timeline()
        self.dice = Dice(scenario.seed)
        self.weather = Weather()
        self.provider = Provider(self.time, self.dice, scenario.ports, self._machine_boots, self._machine_ends)
        self.agents: dict[ShipId, SimAgent] = {}
        self.rules = rules(self, every)
        self.notices: deque[Notify] = deque(maxlen=TRACE_MAX)
        self.trace: deque[str] | None = deque(maxlen=TRACE_MAX) if trace else None
        self.clock_went_back_s = 0.0
        self.kinds: Counter[str] = Counter()
        self._connections: dict[ShipId, Connection] = {}
        self._dials = 0
        self._logins = 0
        self._failed_dials: Counter[ShipId] = Counter()
        self._notebooks = Notebooks(self)
        self.mux = SimMux(self, event_spec(self.scenario, 1, 0))

    # --- a run ------------------------------------------------------------------------------------------------------

    def run(self, actions: Sequence[Action] | None = None) -> Outcome:
        """Play a history, then peace. Raises BrokenRuleError."""
        for action in self.scenario.actions if actions is None else actions:
            self.time.at(action.at, self._act, action)
        try:
            self.mux.start()
            Traffic(self).begins()
            self.time.run(self.scenario.faults_s)
            make_peace(self)
        except BrokenRuleError:
            raise
        except Exception as error:
            # Whatever the core, a link or a step raises ends a process.
            raise BrokenRuleError("exception", f"{type(error).__name__}: {error}") from error
        return Outcome(self.mux.events, self.mux.batches, self.time.now, self.kinds)

    # --- what is told of it -----------------------------------------------------------------------------------------

    def note(self, text: str) -> None:
        """Remember what happened."""
        if self.trace is not None:
            self.trace.append(f"{self.time.now:8.3f}  {text}")

    def note_batch(self, events: Sequence[Event], commands: Sequence[Command]) -> None:
        """Remember a batch of the core."""
        if self.trace is None or not (commands or any(not isinstance(e, ShipReported) for e in events)):
            return
        for event in events:
            self.note(f"  → {_short(event)}")
        for command in commands:
            self.note(f"  ← {_short(command)}")

    # --- machines, agents, links ------------------------------------------------------------------------------------

    def _machine_boots(self, machine: SimMachine) -> None:
        self.note(f"{machine.ship} boots on {machine.host}")
        install(self, machine, partial(self._agent_starts, machine))

    def _machine_ends(self, machine: SimMachine) -> None:
        self.note(f"{machine.ship} is off")
        self._agent_ends(machine, silently=self.dice.roll("silently", machine.ship, machine.boot) < 0.5)

    def _agent_starts(self, machine: SimMachine) -> None:
        if not machine.up or self.provider.machines.get(machine.ship) is not machine:
            return
        old = self.agents.get(machine.ship)
        if old is not None and old.alive:
            return
        agent = SimAgent(machine, self.time, self.dice, partial(self._agent_changed, machine.ship))
        machine.watch = self._acted
        self.agents[machine.ship] = agent
        self._failed_dials[machine.ship] = 0
        self.time.after(self.dice.between(0.1, 1.0, "dial", machine.ship, self.time.now), self._dial, agent)

    def _agent_ends(self, machine: SimMachine, *, silently: bool) -> None:
        agent = self.agents.get(machine.ship)
        if agent is not None and agent.machine is machine and agent.alive:
            agent.dies()
            connection = self._connections.pop(machine.ship, None)
            if connection is not None:
                connection.ship_dies(silently=silently)

    def _agent_changed(self, ship: ShipId) -> None:
        connection = self._connections.get(ship)
        if connection is not None:
            connection.report_soon()

    def _acted(self, machine: SimMachine, action: AgentAction, *, done: bool) -> None:
        if done:
            self.rules.check_machine(machine)
            self.rules.check_truth()
        else:
            self.rules.acted(machine, action)

    def _dial(self, agent: SimAgent) -> None:
        machine = agent.machine
        if not agent.alive:
            return
        if not self.mux.up or machine.partitioned:
            self._redial(agent)
            return
        token = self.mux.keys.join_token(machine.ship)
        self._connections[machine.ship] = self._connect(machine.ship, machine.key, f"boot-{machine.boot}", token, agent)

    def _connect(self, ship: ShipId, key: str, boot: str, token: str, agent: SimAgent | None) -> Connection:
        self._dials += 1
        machine = agent.machine if agent is not None else None
        connection = Connection(
            self.time,
            self.dice,
            self.weather,
            number=self._dials if agent is not None else -self._dials,
            link=self.mux.next_link(),
            agent=agent,
            partitioned=lambda: machine is not None and machine.partitioned,
            deaf=lambda: machine is not None and machine.deaf,
            identity=Identity(ship, boot, key, token, "process", "simulated"),
            heartbeat_s=HEARTBEAT_S,
            mux_events=self.mux.link_event,
            mux_closed=self.mux.link_closed,
            ship_closed=self._link_ended,
        )
        self.mux.links[connection.link] = connection
        return connection

    def _link_ended(self, connection: Connection, retry: bool) -> None:
        ship = ShipId(connection.ship)
        if self._connections.get(ship) is not connection:
            return
        del self._connections[ship]
        agent = self.agents[ship]
        if not agent.alive:
            return
        if retry:
            self._redial(agent)
        else:
            self.note(f"the agent of {ship} gives up")
            agent.dies()

    def _redial(self, agent: SimAgent) -> None:
        ship = agent.machine.ship
        self._failed_dials[ship] += 1
        ceiling = min(REDIAL_MAX_S, 0.2 * 2.0 ** min(self._failed_dials[ship], 10))
        pause = self.dice.between(0.0, ceiling, "redial", ship, self._failed_dials[ship], self._dials)
        self.time.after(pause + 0.01, self._dial, agent)

    def heal(self, machine: SimMachine) -> None:
        """The end of a partition, or of what was held up."""
        if machine.partitioned or machine.deaf:
            machine.partitioned = machine.deaf = False
            for connection in [*self._connections.values(), *self.mux.links.values()]:
                if connection.ship == machine.ship:
                    connection.heal()

    # --- actions ----------------------------------------------------------------------------------------------------

    def _act(self, action: Action) -> None:
        self.note(f"* {action.kind} {action.pick} {action.size:.2f}")
        self.kinds[action.kind] += 1
        if action.kind in PAGES:
            self._notebooks.act(action)
        elif action.kind in WISHES:
            wish(self, action)
        else:
            getattr(self, f"_{action.kind}")(action)

    def _machine(self, action: Action) -> SimMachine | None:
        machines = [machine for _, machine in sorted(self.provider.machines.items())]
        return machines[action.pick % len(machines)] if machines else None

    def _ship(self, action: Action) -> ShipId | None:
        ships = sorted(self.mux.fleet.world.ships)
        return ships[action.pick % len(ships)] if ships else None

    def _user(self, action: Action) -> UserId:
        return UserId(f"user{action.pick % self.scenario.users}")

    def _logs_in(self, action: Action) -> None:
        self._logins += 1
        user = self._user(action)
        ttl_s = SESSION_S[0] if action.size < 0.2 else SESSION_S[1]
        self._log_in(user, f"{user}:{self._logins}", ttl_s, 5)

    def _log_in(self, user: UserId, session: str, ttl_s: float, tries: int) -> None:
        """Somebody logs in; without an answer they try again, and get another session."""
        answered: list[bool] = []
        expires_at = self.mux.clock() + ttl_s
        self.mux.post(LoggedIn(user, SessionHash(session), expires_at), partial(answered.append, True))

        def look() -> None:
            if not answered and tries:
                self._log_in(user, f"{session}+", ttl_s, tries - 1)

        self.time.after(4.0, look)

    def _logs_out(self, action: Action) -> None:
        user = self._user(action)
        sessions = list(self.mux.fleet.world.sessions_of.get(user, ()))
        if sessions:
            self.mux.post(LoggedOut(sessions[0]))

    def _asks(self, action: Action) -> None:
        self.mux.post(ProjectRequested(self._user(action), ProjectName("lazy")))

    def _network(self, action: Action) -> None:
        self.weather.until = self.time.now + 5 + 40 * action.size
        self.weather.lost, self.weather.doubled, self.weather.late = [
            0.02 + 0.25 * self.dice.roll("weather", action.pick, what) for what in ("lost", "doubled", "late")
        ]

    def _partition(self, action: Action) -> None:
        if machine := self._machine(action):
            self._cut_link(machine, 3 + 70 * action.size)

    def _cut_link(self, machine: SimMachine, seconds: float) -> None:
        if not machine.partitioned:
            machine.partitioned = True
            for connection in {*self._connections.values(), *self.mux.links.values()}:
                if connection.ship == machine.ship:
                    connection.partition()
            self.time.after(seconds, self.heal, machine)

    def _path_cut(self, action: Action) -> None:
        """Attendees do not reach it; its link is up."""
        if machine := self._machine(action):
            machine.path_cut = True
            self.time.after(5 + 80 * action.size, setattr, machine, "path_cut", False)

    def _cut_off(self, action: Action) -> None:
        """Nobody reaches it, for longer than it takes to be given up, or a little less."""
        if machine := self._machine(action):
            seconds = 30 + 80 * action.size
            self._cut_link(machine, seconds)
            machine.path_cut = True
            self.time.after(seconds, setattr, machine, "path_cut", False)

    def _let_go(self, action: Action) -> None:
        if ship := self._ship(action):
            self.mux.post(ShipReleased(ship))

    def _trouble(self, name: str, action: Action, seconds: float = 40.0) -> None:
        setattr(self.provider.troubles, name, self.time.now + 3 + seconds * action.size)

    def _launches_fail(self, action: Action) -> None:
        self._trouble("launches_fail", action)

    def _launches_fatal(self, action: Action) -> None:
        self._trouble("launches_fatal", action, 10)

    def _provider_slow(self, action: Action) -> None:
        self._trouble("slow", action)

    def _answers_lost(self, action: Action) -> None:
        self._trouble("answers_lost", action)

    def _listings_fail(self, action: Action) -> None:
        self._trouble("listings_fail", action)

    def _ends_fail(self, action: Action) -> None:
        self._trouble("ends_fail", action)

    def _machine_dies(self, action: Action) -> None:
        machine = self._machine(action)
        if machine is not None:
            self.provider.vanished.add(machine.ship)
            self.provider.vanish(machine.ship)

    def _machine_hangs(self, action: Action) -> None:
        """It is listed as running, and does nothing any more."""
        machine = self._machine(action)
        if machine is not None and machine.up:
            machine.stops()
            self._agent_ends(machine, silently=True)

    def _machine_reboots(self, action: Action) -> None:
        machine = self._machine(action)
        if machine is not None and machine.up and machine.status is MachineStatus.RUNNING:
            self.provider.reboot(machine)

    def _agent_restarts(self, action: Action) -> None:
        machine = self._machine(action)
        if machine is not None and machine.up:
            self._agent_ends(machine, silently=False)
            self.time.after(0.2 + 5 * action.size, self._agent_starts, machine)

    def _agent_dies(self, action: Action) -> None:
        machine = self._machine(action)
        if machine is not None:
            self._agent_ends(machine, silently=action.size < 0.5)

    def _workspace_crashes(self, action: Action) -> None:
        self._disturb(action, lambda machine: machine.crashes(action.pick, self.time.now))

    def _workspace_hangs(self, action: Action) -> None:
        self._disturb(action, lambda machine: machine.hangs(action.pick, self.time.now + 1 + 30 * action.size))

    def _machine_fails(self, action: Action) -> None:
        machine = self._machine(action)
        if machine is not None:
            machine.failing_until = self.time.now + 5 + 80 * action.size

    def _port_taken(self, action: Action) -> None:
        machine = self._machine(action)
        if machine is not None:
            port = machine.port_first + action.pick % machine.port_count
            kept = self.mux.kept.ships.get(machine.ship)
            soon = [w.port for w in kept.workspaces if machine.listening(w.port) is None] if kept else []
            if soon and action.size < 0.6:  # one that is about to be used
                port = soon[action.pick % len(soon)]
            if machine.listening(port) is None:
                machine.foreign_ports.add(port)

    def _port_flickers(self, action: Action) -> None:
        """A workspace exits, another program has its port for a moment, and what the mux says of it is held up."""
        machine = self._machine(action)
        if machine is None or not machine.up or (port := machine.loses_port(action.pick)) is None:
            return
        if not machine.partitioned:
            machine.deaf = True
            self.time.after(4 + 8 * action.size, self._hears, machine)
        self.time.after(0.7 + 2 * action.size, machine.foreign_ports.discard, port)
        self._look_again(machine)

    def _hears(self, machine: SimMachine) -> None:
        if not machine.partitioned:
            self.heal(machine)

    def _order_crosses(self, action: Action) -> None:
        """A ship more is wanted, and no longer when its machine is made: all that the provider says comes late."""
        self.provider.troubles.slow = self.provider.troubles.lags = self.time.now + 45
        self.mux.post(FleetWarmed(self.mux.fleet.world.tally.usable + 1))
        self.time.after(1 + 10 * action.size, lambda: self.mux.post(FleetParked()))
        self.time.after(60 + 10 * action.size, lambda: self.mux.post(FleetUnparked()))

    def _look_again(self, machine: SimMachine) -> None:
        agent = self.agents.get(machine.ship)
        if agent is not None and agent.alive:
            agent.wake()

    def _disturb(self, action: Action, what: Callable[[SimMachine], None]) -> None:
        machine = self._machine(action)
        if machine is not None and machine.up:
            what(machine)
            self._look_again(machine)

    def _mux_killed(self, action: Action) -> None:
        point = KILL_POINTS[action.pick % len(KILL_POINTS)]
        if point == "idle":
            self.mux.dies("idle")
        else:
            self.mux.kill_at = point

    def _clock_jumps(self, action: Action) -> None:
        seconds = (7200.0 if action.pick % 3 == 0 else 45.0) * (2 * action.size - 1)
        self.mux.clock_ahead += seconds
        if action.pick % 2:
            self.mux.dies("as the clock is set")
        self.clock_went_back_s += max(0.0, -seconds)

    def _claimant(self, action: Action) -> None:
        """Somebody else says that they are a ship: one with a token that leaked after use, or with none."""
        ship = self._ship(action)
        if ship is None or not self.mux.up:
            return
        leaked = action.size < 0.5 and ship in self.rules.bound_keys
        token = self.mux.keys.join_token(ship) if leaked else "guessed"
        self._connect(ship, sha256(b"stranger").hexdigest(), "boot-1", token, None)

    def _hostile(self, action: Action) -> None:
        machine = self._machine(action)
        if machine is not None:
            machine.hostile = machine.ever_hostile = True
            self.time.after(5 + 60 * action.size, setattr, machine, "hostile", False)

    def _stray(self, action: Action) -> None:
        """A machine of an earlier event, which the store does not know."""
        self.provider.make(ShipId(f"ship-{9000 + action.pick}"))

    def _disk_full(self, action: Action) -> None:
        self.mux.store_fails_until = self.time.now + 1 + 10 * action.size

    def _registry_away(self, action: Action) -> None:
        self.provider.registry.away_until = self.time.now + 5 + 400 * action.size**2

    def _apply(self, action: Action) -> None:
        spec = event_spec(self.scenario, action.pick, int(action.size * 4))
        self.mux.spec = spec
        self.mux.post(EventSpecApplied(spec))

    def _doors(self, action: Action) -> None:
        self.mux.post(DoorsSet(list(Doors)[action.pick % 3]))

    def _cordon(self, action: Action) -> None:
        if ship := self._ship(action):
            self.mux.post(ShipCordoned(ship, action.size < 0.7))

    def _drain(self, action: Action) -> None:
        if ship := self._ship(action):
            self.mux.post(ShipDrained(ship))

    def _evict(self, action: Action) -> None:
        if ship := self._ship(action):
            self.mux.post(ShipDrained(ship, evict=True))

    def _lost(self, action: Action) -> None:
        if ship := self._ship(action):
            self.mux.post(ShipDeclaredLost(ship))

    def _release(self, action: Action) -> None:
        self.mux.post(SeatReleased(self._user(action)))

    def _revoke(self, action: Action) -> None:
        self.mux.post(UserRevoked(self._user(action), release=action.size < 0.5))

    def _park(self, action: Action) -> None:
        self.mux.post(FleetParked())
        self.time.after(2 + 60 * action.size, lambda: self.mux.post(FleetUnparked()))

    def _warm(self, action: Action) -> None:
        by = self.mux.clock() + 120 * action.size if action.pick % 2 else 0.0
        self.mux.post(FleetWarmed(action.pick % 12, by))

    def _cool(self, action: Action) -> None:
        self.mux.post(FleetCooled())

    def _replace(self, action: Action) -> None:
        if ship := self._ship(action):
            self.mux.post(ShipReplaced(ship))

    def _push(self, action: Action) -> None:
        names = sorted(self.mux.fleet.world.projects)
        name = names[action.pick % len(names)]
        pace = Pace(
            count=1 + action.pick % 3,
            idle=action.size < 0.2,
            offer=0.2 <= action.size < 0.45,
            not_before=self.mux.clock() + 100 * action.size if action.size > 0.85 else 0.0,
        )
        self.mux.post(ProjectPushed(name, f"images/{name}", image(int(action.size * 100)), pace))

    def _push_widely(self, action: Action) -> None:
        """An image that works, for a quarter of the room at once."""
        name = min(self.mux.fleet.world.projects)
        digest = image(int(action.size * 100) + 1)
        self.mux.post(ProjectPushed(name, f"images/{name}", digest, Pace(share=0.25)))

    def _accepts(self, action: Action) -> None:
        """Somebody presses the button, perhaps on a page that shows an earlier push."""
        users = sorted(self.mux.fleet.world.assignments)
        for name, rollout in self.mux.fleet.world.rollouts.items() if users else ():
            number = rollout.number - (action.size < 0.5)
            self.mux.post(UpdateAccepted(users[action.pick % len(users)], name, number))

    def _works(self, action: Action) -> None:
        if keys := sorted(self.mux.fleet.world.published_routes):
            self.mux.post(AttendeesActive(tuple(keys), "page"))

    def _steer(self, action: Action) -> None:
        orders: tuple[Literal["pause", "resume", "abort", "rollback"], ...] = ("pause", "resume", "abort", "rollback")
        for name in self.mux.fleet.world.rollouts:
            self.mux.post(RolloutSteered(name, orders[action.pick % len(orders)]))

    def _launching(self, action: Action) -> None:
        self.mux.post(LaunchingSet(False))
        self.time.after(2 + 60 * action.size, lambda: self.mux.post(LaunchingSet(True)))


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 220 else text[:217] + "..."
