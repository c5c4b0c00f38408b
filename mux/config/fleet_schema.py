"""The table of an event file that is about the fleet: how large it is, and how patient mux is with it."""

from __future__ import annotations

from typing import Annotated, ClassVar

from mux.config import kinds
from mux.config.kinds import PortRange
from mux.config.tables import Key, Table

PROVIDERS = ("local", "ec2")
"""What makes machines."""
RUNTIMES = ("process", "docker")
"""What runs workspaces."""
SEATS_PER_SHIP_MAX = 64
"""With `schema.PROJECTS_MAX` the 1,024 workspaces of one ship that the control protocol takes."""
ATTENDEES_MAX = 10_000
"""Far beyond any workshop; keeps every product of sizes small."""
DAY_S = 86_400


class FleetTable(Table):
    """How large the fleet is and how patient mux is with it."""

    doc: ClassVar[str] = "The fleet. Sizes are in seats: a seat is room for one attendee on a ship."

    provider: Annotated[
        str,
        Key(kinds.choice(*PROVIDERS), "What makes machines. local: agents on this machine. ec2: Amazon EC2.", "local"),
    ] = "local"
    runtime: Annotated[
        str,
        Key(
            kinds.choice(*RUNTIMES),
            "What runs workspaces. docker: containers. process: child processes; no security boundary, so "
            "loopback addresses only.",
            "process",
        ),
    ] = "process"
    attendees: Annotated[int, Key(kinds.whole(1, ATTENDEES_MAX), "People expected.", 4)]
    seats_per_ship: Annotated[int, Key(kinds.whole(1, SEATS_PER_SHIP_MAX), "Attendees that share one machine.", 2)]
    spare_seats: Annotated[
        int, Key(kinds.whole(0, ATTENDEES_MAX), "Seats beyond attendees, for failures and surprises.", 0)
    ] = 0
    ready_seats: Annotated[
        int | None,
        Key(
            kinds.whole(1, 2 * ATTENDEES_MAX),
            "Ready seats at which the doors open by themselves. Default: as many as attendees.",
            2,
        ),
    ] = None
    ports: Annotated[
        PortRange,
        Key(
            kinds.port_range(),
            "Ports for the workspaces of ships: of all of them on this machine, of each one elsewhere.",
            "20000-29999",
        ),
    ] = PortRange(20000, 29999)
    heartbeat_s: Annotated[float, Key(kinds.number(0.1, 300, unit="seconds"), "How often a ship reports.", 5.0)] = 5.0
    heartbeat_grace_s: Annotated[
        float,
        Key(
            kinds.number(0.2, 3600, unit="seconds"),
            "Silence after which a ship counts as unreachable; at least twice heartbeat_s.",
            20.0,
        ),
    ] = 20.0
    lost_after_s: Annotated[
        float,
        Key(
            kinds.number(1, DAY_S, unit="seconds"),
            "How long a ship must be silent and its workspaces out of reach before it is lost.",
            120.0,
        ),
    ] = 120.0
    boot_deadline_s: Annotated[
        float,
        Key(
            kinds.number(1, DAY_S, unit="seconds"),
            "Time from launch to available after which a ship is replaced.",
            600.0,
        ),
    ] = 600.0
    launch_failures_max: Annotated[
        int,
        Key(
            kinds.whole(1, 1000),
            "Machines in a row that may be launched and fail to become ships. Then launching stops until an organizer "
            "resumes it. What the provider refuses for now, such as for want of capacity, is tried until it works.",
            6,
        ),
    ] = 6
    launch_backoff_s: Annotated[
        float,
        Key(
            kinds.number(0.01, 3600, unit="seconds"),
            "First pause after a failed launch; it doubles with each.",
            2.0,
        ),
    ] = 2.0
    launch_backoff_max_s: Annotated[
        float, Key(kinds.number(0.01, DAY_S, unit="seconds"), "Longest pause after a failed launch.", 120.0)
    ] = 120.0
    launches_in_flight_max: Annotated[int, Key(kinds.whole(1, 1000), "Launches under way at once.", 100)] = 100
    surplus_hold_s: Annotated[
        float,
        Key(
            kinds.number(0, DAY_S, unit="seconds"),
            "How long a whole free ship must be surplus before it is ended.",
            120.0,
        ),
    ] = 120.0
    listing_s: Annotated[
        float,
        Key(kinds.number(0.1, 3600, unit="seconds"), "How often the provider is asked what exists.", 15.0),
    ] = 15.0

    @property
    def seats_wanted(self) -> int:
        """Seats that the fleet must hold."""
        return self.attendees + self.spare_seats

    @property
    def ships_wanted(self) -> int:
        """Ships that hold them."""
        return -(-self.seats_wanted // self.seats_per_ship)

    @property
    def effective_ready_seats(self) -> int:
        """Ready seats at which the doors open by themselves."""
        return self.attendees if self.ready_seats is None else self.ready_seats
