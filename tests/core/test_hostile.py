"""Whatever a ship or a provider says, in whatever order, the core goes on: no exception, and every invariant holds.

An exception of the core ends the control process, so a hostile ship that could raise one could end it again and again.
"""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mux.core.events import (
    BootTold,
    Event,
    EventSpecApplied,
    FleetCooled,
    FleetParked,
    FleetUnparked,
    LaunchFailed,
    LaunchSucceeded,
    LinkLost,
    ListingFailed,
    MachineCallEnded,
    MachineNoticed,
    MachinesListed,
    ProjectRequested,
    SeatReleased,
    ShipCordoned,
    ShipDeclaredLost,
    ShipDialed,
    ShipDrained,
    ShipReported,
    StartOverAsked,
)
from mux.core.model import (
    BootStage,
    LinkId,
    Machine,
    MachineStatus,
    ProjectName,
    ReportedState,
    ShipId,
    ShipNotice,
    ShipReport,
    UserId,
    WorkspaceId,
    WorkspaceReport,
)
from tests.core.room import Room, event_spec, project

PROJECTS = (
    project("intro", ports={"board": 6006}),
    project("lazy", start="on_use", shared=("data",)),
    project("kept", has_secrets=True),
)
SHIPS = [ShipId(f"ship-000{number}") for number in range(1, 5)] + [ShipId("ship-9999")]
USERS = [UserId("ada"), UserId("bob"), UserId("eve")]
REASONS = ["", "exited", "port_in_use", "hook_failed", "\x00?"]

few = st.integers(0, 12)


@st.composite
def workspace_reports(draw: st.DrawFn) -> WorkspaceReport:
    ship, name = draw(st.sampled_from(SHIPS)), draw(st.sampled_from([*PROJECTS, project("none")])).name
    return WorkspaceReport(
        WorkspaceId(f"{ship}.{draw(st.integers(0, 2))}.{name}.{draw(few)}"),
        draw(st.sampled_from(ReportedState)),
        reason=draw(st.sampled_from(REASONS)),
        restarts=draw(few),
        epoch=draw(st.integers(0, 3)),
    )


notices = st.builds(
    ShipNotice,
    st.sampled_from(["interruption", "maintenance", "rebalance"]),
    st.none() | st.floats(0, 1e11),
    st.text(max_size=5),
)
reports = st.builds(
    ShipReport,
    seq=st.integers(0, 40),
    generation=st.integers(0, 60),
    phase=st.text(max_size=5),
    workspaces=st.lists(workspace_reports(), max_size=8).map(tuple),
    stage=st.sampled_from(BootStage),
    notices=st.lists(notices, max_size=3).map(tuple),
)
machines = st.builds(
    Machine,
    ship=st.sampled_from(SHIPS),
    status=st.sampled_from(MachineStatus),
    host=st.sampled_from(["", "127.0.0.1", "127.0.0.2"]),
    port_first=st.sampled_from([0, 20_000, 21_000]),
    port_count=st.sampled_from([0, 2, 8, 64]),
)
ships = st.sampled_from(SHIPS)
links = st.integers(0, 12).map(LinkId)
events: st.SearchStrategy[Event] = st.one_of(
    st.builds(ShipReported, ships, links, reports),
    st.builds(ShipReported, ships, links, reports),
    st.builds(ShipDialed, ships, links, st.sampled_from(["key", "other"]), st.sampled_from("ab"), st.booleans()),
    st.builds(LinkLost, ships, links),
    st.builds(BootTold, ships, st.text(max_size=5), st.booleans()),
    st.builds(MachineNoticed, ships, notices),
    st.builds(ShipCordoned, ships, st.booleans()),
    st.just(FleetCooled()),
    st.builds(
        MachinesListed,
        st.lists(machines, max_size=5).map(lambda found: {machine.ship: machine for machine in found}),
        st.floats(0, 5_000),
    ),
    st.builds(ListingFailed, st.just("why")),
    st.builds(LaunchSucceeded, ships, machines),
    st.builds(LaunchFailed, ships, st.just("why"), st.booleans()),
    st.builds(MachineCallEnded, ships, st.sampled_from(["", "why"])),
    st.builds(ProjectRequested, st.sampled_from(USERS), st.sampled_from(["lazy", "none"]).map(ProjectName)),
    st.builds(SeatReleased, st.sampled_from(USERS)),
    st.builds(StartOverAsked, st.sampled_from(USERS), st.sampled_from(["lazy", "none"]).map(ProjectName), st.text()),
    st.builds(ShipDeclaredLost, ships),
    st.builds(ShipDrained, ships, st.booleans()),
    st.just(FleetParked()),
    st.just(FleetUnparked()),
    st.just(EventSpecApplied(event_spec(PROJECTS[0], attendees=3))),
    st.just(EventSpecApplied(event_spec(*PROJECTS, attendees=6, seats_per_ship=3))),
)
batches = st.tuples(st.lists(events, min_size=1, max_size=4), st.sampled_from([-5_000.0, 0.0, 0.1, 3.0, 30.0, 700.0]))


@given(st.booleans(), st.lists(batches, max_size=25))
@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
def test_no_report_dial_or_answer_can_break_the_core(settled: bool, history: list[tuple[list[Event], float]]) -> None:
    room = Room(event_spec(*PROJECTS, attendees=4, launch_failures_max=3, boot_deadline_s=60))
    if settled:
        room.settle()
    room.log_in(*USERS)
    for batch, seconds in history:
        room.pending.clear()  # its own answers are in the history, in any order
        room.do(*batch, after=seconds)
    room.restart()


@given(st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_ship_may_say_anything_of_its_own_workspaces(data: st.DataObject) -> None:
    """As above, but every word is about a workspace that there is, over the accepted link: most of it counts."""
    room = Room(event_spec(*PROJECTS, attendees=4))
    room.settle()
    room.log_in(*USERS)
    for seq in range(1_000, 1_000 + data.draw(st.integers(1, 12))):
        ship = data.draw(st.sampled_from(sorted(room.fleet.world.ships)))
        known = room.fleet.world.ships[ship]
        words = tuple(
            WorkspaceReport(
                identity,
                data.draw(st.sampled_from(ReportedState)),
                reason=data.draw(st.sampled_from(REASONS)),
                epoch=data.draw(st.integers(0, 2)),
            )
            for identity in sorted(known.workspaces)
            if data.draw(st.booleans())
        )
        generation = max(0, known.generation + data.draw(st.integers(-2, 1)))
        link = known.link if known.link is not None else LinkId(seq)
        happened: list[Event] = [ShipReported(ship, link, ShipReport(seq, generation, workspaces=words))]
        if data.draw(st.booleans()):
            happened.append(SeatReleased(data.draw(st.sampled_from(USERS))))
        if data.draw(st.booleans()):
            happened.append(ProjectRequested(data.draw(st.sampled_from(USERS)), ProjectName("lazy")))
        room.do(*happened, after=data.draw(st.sampled_from([0.0, 1.0, 6.0, 40.0])))
        room.answer_all()
    room.restart()
