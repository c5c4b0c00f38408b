"""The simulated mux process: the real core and renderer, in the engine's order, that can be killed at any point of it.

What survives a kill is the store and the table that the proxies last got; links, inbox and the results of calls under
way do not. The order is that of `mux.engine`: handle, persist, publish, act, answer callers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import count
from typing import TYPE_CHECKING, Any, get_args

from mux.control.render import DesiredRenderer, ship_report
from mux.core.commands import (
    AcceptLink,
    CloseLink,
    Command,
    LaunchShip,
    ListMachines,
    Notify,
    ParkShip,
    Persist,
    Placement,
    Publish,
    RefuseLink,
    SendDesired,
    StartShip,
    TerminateShip,
)
from mux.core.events import Event, LinkLost, ShipDialed, ShipReported
from mux.core.fleet import Fleet
from mux.core.model import EventSpec, LinkId, ProjectName, SessionHash, ShipId, UserId
from mux.core.routes import RouteKey, SessionEntry
from mux.keys import Keyring
from ship_agent.protocol import link as protocol
from tests.core.room import Kept
from tests.sim.actions import KillPoint
from tests.sim.network import Connection

if TYPE_CHECKING:
    from tests.sim.house import House

BATCH_MAX = 1_000
EPOCH_S = 1_000_000.0
"""What the mux's clock says at the beginning; the simulation's own time starts at 0."""


class SimMux:
    """One mux on one host: several processes in a row, one store.

    Args:
        house: the world around it.
        spec: the event as first applied.
    """

    def __init__(self, house: House, spec: EventSpec) -> None:
        self.house = house
        self.spec = spec
        self.kept = Kept()
        self.keys = Keyring(bytes(32))
        self.sessions: dict[SessionHash, SessionEntry] = {}
        self.routes: dict[RouteKey, Placement] = {}
        self.links: dict[LinkId, Connection] = {}
        self.up = False
        self.clock_ahead = self._ahead = EPOCH_S
        self.kill_at: KillPoint | None = None
        self.store_fails_until = 0.0
        self.batches = 0
        self.events = 0
        self.fleet: Fleet
        self._run = 0
        self._inbox: list[tuple[Event, Callable[[], None] | None]] = []
        self._working = False
        self._woken = False
        self._timer_set = 0

    def clock(self) -> float:
        """The process's clock: what the wall clock said at its start, counted on steadily."""
        return self.house.time.now + self._ahead

    @property
    def process(self) -> int:
        """Number of the process that is up, or was last."""
        return self._run

    # --- life and death ---------------------------------------------------------------------------------------------

    def start(self) -> None:
        """A new process starts from the store."""
        if self.up:
            return
        self.up = True
        self._run += 1
        self._working = self._woken = False
        self._ahead = self.clock_ahead
        self.kill_at = None
        self._ids = count(1)
        self.fleet = self.kept.restored(self.spec, self.clock())
        self.render = DesiredRenderer(self.keys, self.spec.name, self._secrets_for)
        published = self.fleet.published()
        self.sessions = {key: entry for key, entry in published.sessions.items() if entry is not None}
        self.routes = {key: place for key, place in published.routes.items() if place is not None}
        self.house.note("the mux starts")
        self.house.rules.restored(self.fleet)
        self._step()

    def dies(self, why: str) -> None:
        """kill -9."""
        if not self.up:
            return
        self.house.note(f"the mux is killed, {why}")
        self.up = False
        self._inbox.clear()
        links, self.links = self.links, {}
        for connection in links.values():
            connection.mux_dies()
        self.house.time.after(self.house.dice.between(0.5, 8.0, "restart", self._run), self.start)

    def _dies_at(self, point: KillPoint) -> bool:
        if self.kill_at != point:
            return False
        self.dies(point)
        return True

    # --- the engine -------------------------------------------------------------------------------------------------

    def post(self, event: Event, done: Callable[[], None] | None = None) -> None:
        """Put an event into the inbox; ``done`` is called when what follows from it is in force."""
        if self.up:
            self._inbox.append((event, done))
            self._wake()

    def _poster(self) -> Callable[[Event], None]:
        """Posts for as long as this process lives: what comes back later finds nobody."""
        run = self._run
        return lambda event: self.post(event) if run == self._run else None

    def _wake(self) -> None:
        if not self._woken and not self._working:
            self._woken = True
            self.house.time.after(0.001, self._woken_up, self._run)

    def _woken_up(self, run: int) -> None:
        if run == self._run and self.up:
            self._woken = False
            if not self._working:
                self._step()

    def _step(self) -> None:
        batch, self._inbox = self._inbox[:BATCH_MAX], self._inbox[BATCH_MAX:]
        events = [event for event, _ in batch]
        self.batches += 1
        self.events += len(events)
        rules = self.house.rules
        before = rules.before(self.fleet)
        commands = self.fleet.handle(*events, now=self.clock())
        self.house.note_batch(events, commands)
        rules.decided(self.fleet, before, events, commands)
        if (batch or commands) and self._dies_at("handled"):
            return
        wait = self.store_fails_until - self.house.time.now
        if wait > 0 and any(isinstance(c, _PERSIST) for c in commands):
            self._working = True
            self.house.time.after(wait, self._finish, self._run, batch, commands)
        else:
            self._finish(self._run, batch, commands)

    def _finish(
        self, run: int, batch: Sequence[tuple[Event, Callable[[], None] | None]], commands: Sequence[Command]
    ) -> None:
        if run != self._run or not self.up:
            return
        self._working = False
        rules = self.house.rules
        for command in commands:
            self.kept.carry_out(command)
        rules.persisted(self.fleet, [event for event, _ in batch])
        busy = bool(batch or commands)
        if busy and self._dies_at("persisted"):
            return
        for command in commands:
            if isinstance(command, Publish):
                self._publish(command)
        rules.published(self.fleet, commands)
        if busy and self._dies_at("published"):
            return
        effects = [c for c in commands if not isinstance(c, (*_PERSIST, Publish))]
        half = len(effects) // 2
        for number, effect in enumerate(effects):
            if number == half and self._dies_at("acting"):
                return
            self._start(effect)
        for _, done in batch:
            if done is not None:
                done()
        if self._inbox:
            self._wake()
        self._set_timer()

    def _set_timer(self) -> None:
        deadline = self.fleet.next_deadline()
        if deadline is not None:
            self._timer_set += 1
            self.house.time.after(deadline - self.clock() + 0.001, self._timer, self._run, self._timer_set)

    def _timer(self, run: int, number: int) -> None:
        if run == self._run and number == self._timer_set and self.up and not self._working:
            self._step()

    def _publish(self, change: Publish) -> None:
        _apply(self.sessions, change.sessions)
        _apply(self.routes, change.routes)

    def _start(self, effect: Command) -> None:
        provider, post = self.house.provider, self._poster()
        match effect:
            case LaunchShip(ship):
                provider.launch(ship, post)
            case StartShip(ship):
                provider.start(ship, post)
            case ParkShip(ship):
                provider.park(ship, post)
            case TerminateShip(ship):
                provider.terminate(ship, post)
            case ListMachines():
                provider.list_machines(self.clock(), post)
            case AcceptLink() | RefuseLink() | CloseLink() | SendDesired():
                self._tell(effect)
            case Notify():
                self.house.notices.append(effect)

    def _tell(self, effect: AcceptLink | RefuseLink | CloseLink | SendDesired) -> None:
        connection = self.links.get(effect.link)
        if connection is None or connection.ship != effect.ship:
            return
        match effect:
            case AcceptLink():
                connection.mux_end.accept()
            case RefuseLink():
                connection.refuse(effect.code, effect.reason, retry=effect.retry)
            case CloseLink():
                connection.close("closed", "the mux closed the link")
            case SendDesired():
                connection.mux_end.send_desired(self.render(effect.ship, effect.desired))
        connection.flush()

    def _secrets_for(self, project: ProjectName, user: UserId | None) -> Mapping[str, str]:
        spec = self.spec.project(project)
        return {"OWNER": user} if user is not None and spec is not None and spec.has_secrets else {}

    # --- the control endpoint ---------------------------------------------------------------------------------------

    def next_link(self) -> LinkId:
        """The number of a new connection; each process counts from 1."""
        return LinkId(next(self._ids))

    def link_event(self, connection: Connection, event: protocol.Event) -> None:
        """What happened at the mux's end of a link."""
        ship = ShipId(connection.ship)
        match event:
            case protocol.Dialed(hello):
                connection.dialed = True
                token_ok = self.keys.join_token_ok(ship, hello.join_token)
                self.post(ShipDialed(ship, connection.link, hello.public_key, hello.boot, token_ok))
            case protocol.Reported(observed):
                self.post(ShipReported(ship, connection.link, ship_report(observed)))
            case _:
                pass

    def link_closed(self, connection: Connection) -> None:
        """A link has ended."""
        if self.links.pop(connection.link, None) is connection and connection.dialed:
            self.post(LinkLost(ShipId(connection.ship), connection.link))


_PERSIST = get_args(Persist)


def _apply(table: dict[Any, Any], changes: Mapping[Any, Any]) -> None:
    for key, value in changes.items():
        if value is None:
            table.pop(key, None)
        else:
            table[key] = value
