"""The rules about wishes to start over, on histories that are made by hand: what they forbid, and what they do not."""

from __future__ import annotations

from mux.control.render import DesiredRenderer
from mux.core.commands import Command, SendDesired
from mux.core.events import Event, ShipDeclaredLost, StartOverAsked
from mux.core.model import Desired, ProjectName, ShipId, UserId
from mux.keys import Keyring
from ship_agent.step import StartOver, target
from tests.core.room import Room
from tests.sim.clock import Dice
from tests.sim.machines import Registry, SimMachine, Truth
from tests.sim.wishes import WishRules

ADA, INTRO = UserId("ada"), ProjectName("intro")


class Watched(Room):
    """A room in which Ada has a seat, and the rules look on."""

    def __init__(self) -> None:
        self.rules = WishRules()
        self.told: dict[ShipId, Desired] = {}
        super().__init__()
        self.settle()
        self.log_in("ada")
        self.settle()

    def do(self, *events: Event, after: float = 0.0) -> list[Command]:
        """As in every room."""
        commands = super().do(*events, after=after)
        self.rules.persisted(self.fleet.world, events)
        for command in commands:
            if isinstance(command, SendDesired):
                self.told[command.ship] = command.desired
                assert not list(self.rules.told(command.desired))
        return commands

    def wish_on(self, ship: ShipId) -> tuple[SimMachine, StartOver]:
        """What a ship would carry out that goes by what it was told last."""
        desired = DesiredRenderer(Keyring(bytes(32)), "room", lambda *_: {})(ship, self.told[ship])
        (wanted,) = (each for each in target(desired).workspaces.values() if each.start_over is not None)
        assert wanted.start_over is not None
        machine = SimMachine(ship, "10.0.0.1", 20_000, 64, key="", dice=Dice(0), registry=Registry())
        machine.truth[wanted.spec.id] = Truth(owners={ADA})
        return machine, StartOver(wanted.spec, wanted.start_over)

    def broken_by(self, machine: SimMachine, action: StartOver) -> list[str]:
        """What the rules say to its being carried out now."""
        return list(self.rules.carried_out(self.fleet.world, machine, action))


def test_a_lost_ship_may_still_be_at_a_wish_that_the_next_one_has_ended() -> None:
    room = Watched()
    lost, _ = room.seats()[ADA]
    room.do(StartOverAsked(ADA, INTRO, "a.ipynb"))
    late = room.wish_on(lost)
    assert room.broken_by(*late) == []
    room.do(ShipDeclaredLost(lost))
    room.settle()
    ship, _ = room.seats()[ADA]
    assert ship != lost
    assert room.broken_by(*late) == [], "it is on the copy that the lost ship keeps"
    assert "once more" in " ".join(room.broken_by(*room.wish_on(ship)))


def test_a_wish_that_has_ended_is_not_carried_out_once_more_where_its_attendee_sits() -> None:
    room = Watched()
    ship, _ = room.seats()[ADA]
    room.do(StartOverAsked(ADA, INTRO, "a.ipynb"))
    room.settle()
    assert "once more" in " ".join(room.broken_by(*room.wish_on(ship)))
