"""What must hold, checked after every batch of the mux and after every action of an agent.

Each rule has a name, which is what a failing history is known by. The rules look at the world from outside: at what was
committed, published and sent, and at what is true on the machines. Only `core` asks the core itself.

A machine whose agent has lied is exempt from what rests on its word, until peace: its lies may cost its own seats,
never anybody else's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mux.core.commands import (
    AcceptLink,
    Command,
    LaunchShip,
    Notify,
    ParkShip,
    Placement,
    Publish,
    SaveAssignment,
    SendDesired,
    StartShip,
    TerminateShip,
)
from mux.core.errors import CoreError
from mux.core.events import (
    DoorsSet,
    Event,
    EventSpecApplied,
    FleetParked,
    FleetUnparked,
    FleetWarmed,
    LaunchFailed,
    LaunchingSet,
    LoggedIn,
    LoggedOut,
    SeatReleased,
    ShipDeclaredLost,
    ShipDialed,
    ShipDrained,
    ShipReleased,
    ShipReplaced,
    ShipReported,
    UserRevoked,
)
from mux.core.fleet import Fleet
from mux.core.model import (
    Assignment,
    Desired,
    Doors,
    LinkId,
    ProjectName,
    SessionHash,
    ShipId,
    ShipState,
    ShipWanted,
    UserId,
    WorkspaceId,
    WorkspaceState,
)
from mux.core.routes import RouteKey
from mux.core.warming import aim, held
from mux.core.world import World
from ship_agent.step import Action, Remove, Start, StartOver
from tests.sim.installing import InstallingRules
from tests.sim.leaving import Moves
from tests.sim.loss import Loss
from tests.sim.notebooks import SaveRules
from tests.sim.rollout import RolloutRules
from tests.sim.wishes import WishRules

if TYPE_CHECKING:
    from tests.sim.house import House
    from tests.sim.machines import SimMachine


NOT_UP = (ShipState.PENDING, ShipState.BOOTING, ShipState.PARKED)
STEADY_S = 35.0
"""What has answered for longer than anything said of it may be held up answers all along."""


class BrokenRuleError(Exception):
    """A rule does not hold.

    Args:
        rule: its name.
        text: what was found.
    """

    def __init__(self, rule: str, text: str) -> None:
        super().__init__(f"{rule}: {text}")
        self.rule = rule
        self.text = text


@dataclass(frozen=True, slots=True)
class Before:
    """What a batch starts from."""

    assignments: dict[UserId, Assignment]
    waiting: tuple[UserId, ...]
    offers: dict[ShipId, int]
    doors_open: bool


class Rules:
    """Watches one house.

    Args:
        house: what is watched.
        every: check what costs in proportion to the fleet only after so many batches.
    """

    def __init__(self, house: House, every: int = 1) -> None:
        self.house = house
        self._every = every
        self._batch = 0
        self._acked: dict[SessionHash, float] = {}
        self._assignments: dict[UserId, Assignment] = {}
        self._waiting: tuple[UserId, ...] = ()
        self._routes: dict[RouteKey, Placement] = {}
        self._epochs: dict[UserId, int] = {}
        self._incarnations: dict[tuple[UserId, int, ProjectName], WorkspaceId] = {}
        self._may_lose: set[ShipId] = set()
        self._replaced: set[ShipId] = set()
        self._loss = Loss(house)
        self._moves = Moves(house)
        self._rollouts = RolloutRules()
        self._saves = SaveRules()
        self._wishes = WishRules()
        self._installing = InstallingRules()
        self._launched: set[ShipId] = set()
        self.bound_keys: dict[ShipId, str] = {}
        self._sent: dict[ShipId, Desired] = {}
        self._doors_closed = False
        self._launching = True
        self._parked = False
        self._not_before = 0.0
        self._latest = 0.0
        self._seqs: dict[ShipId, tuple[LinkId, int]] = {}
        self._boots: dict[ShipId, int] = {}

    # --- a batch, step by step --------------------------------------------------------------------------------------

    def before(self, fleet: Fleet) -> Before:
        """To be called before the core handles a batch."""
        world = fleet.world
        return Before(dict(world.assignments), tuple(world.waiting), world.offers.all(), world.doors_open)

    def decided(self, fleet: Fleet, before: Before, events: Sequence[Event], commands: Sequence[Command]) -> None:
        """The core has decided, and nothing is persisted yet."""
        self._batch += 1
        self._latest = max(self._latest, self.house.mux.clock())
        if self._batch % self._every == 0:
            try:
                fleet.validate()
            except CoreError as error:
                raise BrokenRuleError("core", str(error)) from error
        for event in events:
            match event:
                case ShipDeclaredLost(ship) | ShipDrained(ship, True):
                    self._may_lose.add(ship)
                case ShipReplaced(ship):
                    self._replaced.add(ship)
        self._may_lose |= self._loss.heard(fleet, events, commands)
        for overdue in self._loss.overdue(fleet, events):
            raise BrokenRuleError("reach", overdue)
        self._check_withdrawn(fleet, events, commands)
        self._check_moves(fleet, before, events)
        self._check_seats(fleet, before, events, commands)
        self._check_newcomers(fleet, before, events)
        self._check_doors(fleet, before, events)
        self._check_queue(fleet, before, events)
        self._check_reports(fleet, events)
        accepted = {(command.ship, command.link) for command in commands if isinstance(command, AcceptLink)}
        told = {(command.ship, command.link) for command in commands if isinstance(command, SendDesired)}
        current = {(ship, link) for ship, link in accepted if fleet.world.ships[ship].link == link}
        if current - told:
            raise BrokenRuleError("told", f"{sorted(current - told)} is let in and not told what is wanted")
        self._check_launches(fleet, events, commands)
        self._check_stuck(fleet)
        for broken in self._rollouts.broken(fleet.world, events):
            raise BrokenRuleError("rollout", broken)
        for broken in self._saves.broken(fleet.world, events):
            raise BrokenRuleError("pages", broken)
        for broken in self._installing.broken(fleet.world, self.bound_keys):
            raise BrokenRuleError("installing", broken)
        self._check_ends(before, events, commands)
        for ship, ends in ((c.ship, c) for c in commands if isinstance(c, SendDesired)):
            self._check_generation(ship, ends.desired)

    def persisted(self, fleet: Fleet, events: Sequence[Event]) -> None:
        """The batch is in the store."""
        world, kept = fleet.world, self.house.mux.kept
        for what, stored, known in (
            ("assignments", kept.assignments, world.assignments),
            ("sessions", kept.sessions, world.sessions),
            ("queue", kept.waiting, world.waiting),
            ("rollouts", kept.rollouts, world.rollouts),
            ("wishes", kept.wishes, world.wishes),
            ("ages of files", kept.behind, world.behind),
        ):
            if stored != known:
                raise BrokenRuleError("forgotten", f"the {what} in the store are not those in force")
        if self._batch % (4 * self._every) == 0:
            for ship in world.ships.values():
                if kept.ships.get(ship.id) != ship.record():
                    raise BrokenRuleError("forgotten", f"{ship.id} in the store is not {ship.id} as it is")
        self._organizers_said(events)
        self._moves.persisted()
        self._wishes.persisted(world, events)
        self._loss.moved(events, self._assignments, world.assignments, self._incarnations, self._moves.leavers())
        # One that was let go is a ship like any other again.
        self._may_lose -= {event.ship for event in events if isinstance(event, ShipReleased)}
        for user, assignment in world.assignments.items():
            self._epochs[user] = assignment.epoch
        self._assignments = dict(world.assignments)
        self._waiting = tuple(world.waiting)
        self._routes = dict(world.published_routes)
        self._check_sessions(fleet, events)
        self._check_incarnations(fleet, events)

    def published(self, fleet: Fleet, commands: Sequence[Command]) -> None:
        """The batch is in force."""
        mux = self.house.mux
        if mux.routes != fleet.world.published_routes or mux.sessions != fleet.world.published_sessions:
            raise BrokenRuleError("published", "what proxies serve is not what the core holds published")
        for command in commands:
            match command:
                case Publish(_, routes):
                    self._loss.led(routes)
                    for key, place in routes.items():
                        if place is not None and not place.hold:
                            self._check_new_route(key, place)
                case AcceptLink(ship, link):
                    connection = mux.links.get(link)
                    if connection is not None:
                        self._check_key(ship, connection.key, token_ok=connection.number >= 0)
                        self._check_boot(ship)
                case SendDesired(ship, _, desired):
                    self._sent[ship] = desired
                    for broken in self._wishes.told(desired):
                        raise BrokenRuleError("wishes", broken)
        self.check_truth()

    def restored(self, fleet: Fleet) -> None:
        """A new process has started from the store."""
        world = fleet.world
        self._seqs.clear()
        self._not_before = 0.0  # failures of launches are memory only, and the clock may be another
        self._loss.restarted()
        self._moves.restarted()
        self._rollouts.restarted(world)
        self._saves.restarted()
        self._loss.led(world.published_routes)
        if world.assignments != self._assignments:
            raise BrokenRuleError("forgotten", "a restart finds other assignments")
        missing = set(self._waiting) - set(world.waiting)
        if missing or [user for user in world.waiting if user in set(self._waiting)] != list(self._waiting):
            raise BrokenRuleError("forgotten", "a restart finds another queue")
        # A workspace that was being swapped may have had its time meanwhile.
        held = {key for table in (world.published_routes, self._routes) for key, place in table.items() if place.hold}
        keys = (world.published_routes.keys() | self._routes.keys()) - held
        if any(world.published_routes.get(key) != self._routes.get(key) for key in keys):
            raise BrokenRuleError("forgotten", "a restart finds other routes")
        for session, expires_at in self._acked.items():
            if session not in world.sessions and expires_at > self._latest:
                raise BrokenRuleError("forgotten", f"a restart has lost {session}")

    def acted(self, machine: SimMachine, action: Action) -> None:
        """An agent is about to end an action."""
        if isinstance(action, Start) and (why := self._rollouts.unproved(machine, action)):
            raise BrokenRuleError("unproved", why)
        if isinstance(action, StartOver) and not machine.ever_hostile:
            for broken in self._wishes.carried_out(self.house.mux.fleet.world, machine, action):
                raise BrokenRuleError("wishes", broken)
        if isinstance(action, Remove) and action.workspace in self._loss.kept_on(machine.ship):
            raise BrokenRuleError("kept", f"{machine.ship} destroys {action.workspace} before it was released")
        if isinstance(action, Remove) and not machine.ever_hostile:
            for assignment in self._assignments.values():
                if assignment.ship != machine.ship:
                    continue
                ship = self.house.mux.fleet.world.ships.get(assignment.ship)
                if ship is not None and self.house.mux.up:
                    held = ship.seats[assignment.seat].workspaces.values()
                    if any(w.id == action.workspace for w in held):
                        raise BrokenRuleError("files", f"{machine.ship} destroys {action.workspace}, which is in use")

    # --- seats, queue, doors ----------------------------------------------------------------------------------------

    def _organizers_said(self, events: Sequence[Event]) -> None:
        """What counts from the time that it is persisted."""
        for event in events:
            match event:
                case DoorsSet(doors):
                    self._doors_closed = doors is Doors.CLOSED
                case LaunchingSet(enabled):
                    self._launching = enabled
                    self._not_before = 0.0
                case FleetParked():
                    self._parked = True
                case FleetUnparked() | FleetWarmed():
                    self._parked = False

    def _may_go(self, ship: ShipId) -> bool:
        # To let go of what a ship keeps does not call its replacement off.
        return ship in self._may_lose | self._replaced | self.house.provider.vanished

    def _check_moves(self, fleet: Fleet, before: Before, events: Sequence[Event]) -> None:
        self._moves.heard(before.assignments, events, fleet.world.leaving)
        led: dict[UserId, set[WorkspaceId]] = {}
        for (user, epoch, _), workspace in self._incarnations.items() if self._moves.leavers() else ():
            seat = before.assignments.get(user)
            if seat is not None and seat.epoch == epoch and workspace in self._loss.led_to:
                led.setdefault(user, set()).add(workspace)
        kept = {workspace for ship in fleet.world.ships.values() for workspace in ship.kept}
        ships = fleet.world.ships.values()
        given_up = {ship.id for ship in ships if ship.replacing and ship.unreachable}
        away = {ship.id for ship in ships if ship.call or ship.wanted is ShipWanted.PARKED or ship.state in NOT_UP}
        changes = (before.assignments, fleet.world.assignments, events)
        for broken in self._moves.broken(*changes, led, kept, given_up, away):
            raise BrokenRuleError("leave", broken)

    def _check_seats(self, fleet: Fleet, before: Before, events: Sequence[Event], commands: Sequence[Command]) -> None:
        after = fleet.world.assignments
        released = self._moves.leavers()
        for user, assignment in before.assignments.items():
            if after.get(user) != assignment and user not in released and not self._may_go(assignment.ship):
                raise BrokenRuleError("seat", f"{user} loses {assignment.ship}/{assignment.seat} for no reason")
        for command in commands:
            if isinstance(command, SaveAssignment):
                user, epoch = command.assignment.user, command.assignment.epoch
                if epoch <= self._epochs.get(user, 0):
                    raise BrokenRuleError("epoch", f"{user} gets epoch {epoch} a second time")
                if self._doors_closed and not any(isinstance(e, DoorsSet) for e in events):
                    raise BrokenRuleError("doors", f"{user} gets a seat while the doors are closed")
        if len({(a.ship, a.seat) for a in after.values()}) != len(after):
            raise BrokenRuleError("seat", "a seat has two attendees")

    def _check_newcomers(self, fleet: Fleet, before: Before, events: Sequence[Event]) -> None:
        world = fleet.world
        new = [a for user, a in world.assignments.items() if before.assignments.get(user) != a]
        for assignment in new:
            ship = world.ships[assignment.ship]
            if ship.cordoned or ship.draining or ship.failed or ship.unreachable or ship.link is None:
                raise BrokenRuleError("newcomer", f"{assignment.user} is seated on {ship.id}, which is not healthy")
        if len(new) == 1 and len(events) == 1 and isinstance(events[0], LoggedIn):
            fewest = min(before.offers.values(), default=0)
            if before.offers.get(new[0].ship) != fewest:
                raise BrokenRuleError("newcomer", f"{new[0].user} is seated on {new[0].ship}, not on the fullest ship")
        lost = {event.ship for event in events if isinstance(event, ShipDeclaredLost)}
        for user, assignment in world.assignments.items():
            if assignment.ship in lost:
                raise BrokenRuleError("evict", f"{user} still sits on {assignment.ship}")

    def _check_doors(self, fleet: Fleet, before: Before, events: Sequence[Event]) -> None:
        world = fleet.world
        if world.controls.doors is not Doors.AUTO or world.doors_open:
            return
        if before.doors_open and not any(isinstance(event, DoorsSet) for event in events):
            raise BrokenRuleError("doors", "doors that had opened are closed again")
        if world.offers.total + len(world.assignments) >= world.spec.fleet.ready_seats:
            raise BrokenRuleError("doors", f"{world.offers.total} seats are ready and the doors stay closed")

    def _check_reports(self, fleet: Fleet, events: Sequence[Event]) -> None:
        for event in events:
            if not isinstance(event, ShipReported) or (ship := fleet.world.ships.get(event.ship)) is None:
                continue
            if ship.link is None or ship.report is None:
                continue
            if ship.report is event.report and ship.link != event.link:
                raise BrokenRuleError("late", f"a report over an older link of {ship.id} counts")
            if ship.link == event.link and ship.report.seq < event.report.seq:
                raise BrokenRuleError("late", f"report {ship.report.seq} of {ship.id} counts after {event.report.seq}")
            if ship.link == event.link:
                highest = self._seqs.get(ship.id, (event.link, 0))
                if highest[0] == event.link and ship.report.seq < highest[1]:
                    raise BrokenRuleError("late", f"report {ship.report.seq} of {ship.id} counts after {highest[1]}")
                self._seqs[ship.id] = event.link, ship.report.seq

    def _check_queue(self, fleet: Fleet, before: Before, events: Sequence[Event]) -> None:
        world = fleet.world
        still = [user for user in before.waiting if user in world.waiting]
        # Who left the queue and joined it again in this batch has another turn.
        anew = {e.user for e in events if isinstance(e, (LoggedIn, SeatReleased, UserRevoked))}
        anew |= {UserId(e.session.partition(":")[0]) for e in events if isinstance(e, LoggedOut)}
        still = [user for user in still if user not in anew]
        order = [user for user in world.waiting if user in set(still)]
        if order != still:
            raise BrokenRuleError("queue", f"the order changes from {still} to {order}")
        places = {user: place for place, user in enumerate(before.waiting)}
        for user in world.waiting:
            if user in anew and user not in before.waiting and user not in before.assignments:
                behind = list(world.waiting)[list(world.waiting).index(user) + 1 :]
                if any(other in still for other in behind):
                    raise BrokenRuleError("queue", f"{user} comes and goes before others")
        for user in world.assignments:
            if user in before.assignments or not still:
                continue
            if places.get(user, len(places)) > places[still[0]]:
                raise BrokenRuleError("queue", f"{user} is seated before {still[0]}, who has waited longer")

    # --- launching and ending ---------------------------------------------------------------------------------------

    def _check_launches(self, fleet: Fleet, events: Sequence[Event], commands: Sequence[Command]) -> None:
        world, spec = fleet.world, fleet.world.spec.fleet
        launches = [command.ship for command in commands if isinstance(command, LaunchShip)]
        resumed = any(isinstance(event, LaunchingSet) for event in events)
        self._check_held(world, events, commands, resumed=resumed)
        if launches and not world.controls.launching:
            raise BrokenRuleError("launching", "a ship is launched although launching was given up")
        if launches and world.now < self._not_before and world.patience.failures:
            raise BrokenRuleError("patience", "a launch follows a failed one at once")
        if any(isinstance(event, LaunchFailed) for event in events) and world.patience.failures:
            self._not_before = world.now + spec.launch_backoff_s
        if world.patience.machines >= spec.launch_failures_max and world.controls.launching:
            raise BrokenRuleError("patience", f"launching goes on after {world.patience.machines} machines in vain")
        if sum(ship.call == "launch" for ship in world.ships.values()) > spec.launches_in_flight_max:
            raise BrokenRuleError("launching", "too many launches at once")
        new = set(launches) - self._launched
        self._launched |= new
        if not new:
            return
        good = 0
        for ship in world.ships.values():
            if ship.gone or ship.id in new or ship.replacing or ship.wanted is ShipWanted.PARKED:
                continue
            going = ship.draining or ship.failed or ship.unreachable or ship.kept
            good += ship.assigned if going else len(ship.seats)
        missing = aim(world).seats - good
        if len(new) > -(-missing // spec.seats_per_ship):
            raise BrokenRuleError("launching", f"{len(new)} ships are launched for {missing} missing seats")

    def _check_held(self, world: World, events: Sequence[Event], commands: Sequence[Command], *, resumed: bool) -> None:
        """What organizers have forbidden does not happen: pausing, parking and cooling mean what they say."""
        said = any(isinstance(event, FleetUnparked | FleetWarmed) for event in events)
        if any(isinstance(c, LaunchShip) for c in commands) and self._parked and not said:
            raise BrokenRuleError("launching", "a ship is launched although the fleet is parked")
        calls = [c for c in commands if isinstance(c, LaunchShip | StartShip | ParkShip | TerminateShip)]
        if calls and not (self._launching or resumed):
            raise BrokenRuleError("paused", f"{calls[0]} although the reconciler is paused")
        parked = {command.ship for command in commands if isinstance(command, ParkShip)}
        if parked and not (self._parked or any(isinstance(event, FleetParked) for event in events)):
            for assignment in world.assignments.values():
                if assignment.ship in parked:
                    raise BrokenRuleError("cooled", f"{assignment.ship} is parked while {assignment.user} sits there")

    def _check_stuck(self, fleet: Fleet) -> None:
        world = fleet.world
        under_way = sum(ship.call == "launch" for ship in world.ships.values())
        if not world.listed or not world.controls.launching or world.now < world.patience.not_before:
            return
        if held(world, aim(world)):
            return
        if under_way >= world.spec.fleet.launches_in_flight_max:
            return
        for ship in world.ships.values():
            waits = ship.state is ShipState.PENDING and ship.wanted is ShipWanted.RUN and ship.call is None
            if waits and not (ship.host or ship.ordered or ship.failed):
                raise BrokenRuleError("launching", f"{ship.id} waits to be launched, and nothing is under way")

    def _check_ends(self, before: Before, events: Sequence[Event], commands: Sequence[Command]) -> None:
        for command in commands:
            if (
                isinstance(command, Notify)
                and command.code == "ship_lost"
                and not self._may_go(ShipId(command.subject))
            ):
                raise BrokenRuleError("lost", f"{command.subject} counts as lost although its machine is there")
        ended = {command.ship for command in commands if isinstance(command, TerminateShip)}
        released_ships = {event.ship for event in events if isinstance(event, ShipReleased)}
        for ship in ended - released_ships - self.house.provider.vanished:
            if kept := self._loss.kept_on(ship):
                raise BrokenRuleError("kept", f"{ship} is ended with {sorted(kept)}, which nobody released")
        released = self._moves.leavers()
        for user, assignment in before.assignments.items():
            if assignment.ship in ended and user not in released and not self._may_go(assignment.ship):
                raise BrokenRuleError("destroyed", f"{assignment.ship} is ended while {user} sits there")

    # --- links and desired states -----------------------------------------------------------------------------------

    def _check_key(self, ship: ShipId, key: str, *, token_ok: bool) -> None:
        if self.bound_keys.setdefault(ship, key) != key or not token_ok:
            raise BrokenRuleError("stranger", f"somebody with another key is let in as {ship}")

    def _check_boot(self, ship: ShipId) -> None:
        machine = self.house.provider.machines.get(ship)
        if machine is None or machine.ever_hostile:
            return
        before = self._boots.get(ship, 0)
        self._boots[ship] = machine.boot
        if before and before != machine.boot:
            for (user, project), place in self.house.mux.routes.items():
                if place.host == machine.host and machine.listening(place.port) is None:
                    raise BrokenRuleError(
                        "boot", f"{ship} booted anew, and {user} is still routed to its old {project}"
                    )

    def _check_generation(self, ship: ShipId, desired: Desired) -> None:
        last = self._sent.get(ship)
        if last is None or desired.generation > last.generation:
            return
        if desired.generation < last.generation or desired.workspaces != last.workspaces:
            raise BrokenRuleError("generation", f"{ship} is told two things as generation {desired.generation}")

    # --- sessions and workspaces ------------------------------------------------------------------------------------

    def _check_sessions(self, fleet: Fleet, events: Sequence[Event]) -> None:
        world = fleet.world
        for event in events:
            match event:
                case LoggedIn(_, session, expires_at):
                    self._acked[session] = expires_at
                case LoggedOut(session):
                    self._acked.pop(session, None)
                case UserRevoked(user):
                    for session in [s for s in self._acked if s.startswith(f"{user}:")]:
                        del self._acked[session]
        for session, expires_at in list(self._acked.items()):
            if session not in world.sessions:
                if expires_at > self._latest:
                    raise BrokenRuleError("forgotten", f"{session} ends before its time")
                del self._acked[session]
        for session, entry in world.sessions.items():
            if session not in self._acked:
                raise BrokenRuleError("session", f"{session} is in force after its end")
            if entry.expires_at + self.house.clock_went_back_s < self._latest - 1.0:
                raise BrokenRuleError("session", f"{session} is in force after its time")

    def _check_incarnations(self, fleet: Fleet, events: Sequence[Event]) -> None:
        world = fleet.world
        if any(isinstance(event, EventSpecApplied) for event in events):
            self._incarnations = {k: w for k, w in self._incarnations.items() if k[2] in world.projects}
        for user, assignment in world.assignments.items():
            for name, workspace in world.ships[assignment.ship].seats[assignment.seat].workspaces.items():
                if self._incarnations.setdefault((user, assignment.epoch, name), workspace.id) != workspace.id:
                    raise BrokenRuleError("files", f"{user} finds another {name} on the same seat: {workspace.id}")

    # --- the ground truth -------------------------------------------------------------------------------------------

    def _check_new_route(self, key: RouteKey, place: Placement) -> None:
        machine = self.house.provider.by_host(place.host)
        if machine is None or machine.ever_hostile or not place.workspace.startswith(f"{machine.ship}."):
            return  # it has gone meanwhile: check_truth looks at where the route leads now
        truth = machine.truth.get(place.workspace)
        if truth is None or place.port not in truth.answered_on:
            raise BrokenRuleError("route", f"{key} is published before {place.workspace} answered on {place.port}")
        here, assignment = machine.workspaces.get(place.workspace), self._assignments.get(key[0])
        if here and assignment and assignment.epoch > 1 and here.epoch != assignment.epoch:
            raise BrokenRuleError("restored", f"{key} is published before the files of {key[0]} are there")
        found = self.house.mux.fleet.world.seat_of(key[0])
        wanted = found and found[1].workspaces.get(key[1])
        if here and wanted and wanted.id == here.id and wanted.digest != here.digest:
            raise BrokenRuleError("swapped", f"{key} is published on the image before, which is about to be stopped")
        spec = self.house.mux.spec.project(key[1])
        if spec is not None and spec.has_secrets and truth.secrets_of != key[0]:
            raise BrokenRuleError("secrets", f"{key} is published without the secrets of {key[0]}")

    def _check_withdrawn(self, fleet: Fleet, events: Sequence[Event], commands: Sequence[Command]) -> None:
        """A route stays while what it leads to is its attendee's, is to be there, and has answered there all along."""
        gone = {key for c in commands if isinstance(c, Publish) for key, place in c.routes.items() if place is None}
        dialed = {event.ship for event in events if isinstance(event, ShipDialed)}  # perhaps after another boot
        for key in gone:
            before, found = self._routes.get(key), fleet.world.seat_of(key[0])
            workspace = found and found[1].workspaces.get(key[1])
            if before is None or found is None or workspace is None or workspace.id != before.workspace:
                continue
            ship = found[0]
            if workspace.state is not WorkspaceState.BOUND or ship.wanted is not ShipWanted.RUN or ship.id in dialed:
                continue
            machine = self.house.provider.machines.get(ship.id)
            if machine is None or machine.ever_hostile:
                continue
            if (ship.host, before.port) != (machine.host, workspace.port):
                continue
            here = machine.workspaces.get(workspace.id)
            if machine.listening(before.port) != workspace.id or here is None or here.digest != workspace.digest:
                continue
            if self.house.time.now - machine.truth[here.id].answers_at > STEADY_S:
                raise BrokenRuleError("blink", f"{key} is taken away although {here.id} has answered all along")

    def check_truth(self) -> None:
        """No route leads to anything but a workspace of its attendee."""
        by_host = {machine.host: machine for machine in self.house.provider.machines.values()}
        kept = self.house.mux.kept.ships
        for (user, project), place in self.house.mux.routes.items():
            machine = by_host.get(place.host)
            record = kept.get(ShipId(place.workspace.partition(".")[0]))
            if self.house.mux.up and record is not None and record.wanted is not ShipWanted.RUN:
                raise BrokenRuleError("route", f"{user}'s {project} leads to {record.id}, which should not run")
            if machine is None or machine.ever_hostile:
                continue
            if place.workspace in self._loss.kept_on(machine.ship):
                raise BrokenRuleError("kept", f"{user}'s {project} leads to {place.workspace}, which is only kept")
            found = machine.listening(place.port)
            if found is None:
                continue
            if found != place.workspace:
                raise BrokenRuleError("route", f"{user}'s {project} leads to {found}, not to {place.workspace}")
            owners = machine.truth[found].owners
            if owners - {user}:
                raise BrokenRuleError("route", f"{user}'s {project} leads to {found}, which is {sorted(owners)}'s")

    def check_machine(self, machine: SimMachine) -> None:
        """After an action on a machine: nothing there is two people's, and the core knows of all of it."""
        if machine.ever_hostile:
            return
        for identity, truth in machine.truth.items():
            if len(truth.owners) > 1:
                raise BrokenRuleError("files", f"{identity} was bound to {sorted(truth.owners)}")
        kept = self.house.mux.kept.ships.get(machine.ship)
        if kept is not None and kept.wanted is ShipWanted.RUN and kept.state is not ShipState.TERMINATED:
            known = {workspace.id for workspace in kept.workspaces} | {each.workspace.id for each in kept.kept}
            for identity, here in machine.workspaces.items():
                if identity not in known and here.seat < kept.seats:  # a trial is memory only
                    raise BrokenRuleError("unknown", f"{machine.ship} holds {identity}, which the core has forgotten")
