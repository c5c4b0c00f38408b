"""Strategies that draw any command that is persisted; few users and seats, so that commands meet."""

from __future__ import annotations

from hypothesis import strategies as st

from mux.core.commands import (
    Behind,
    ForgetAssignment,
    ForgetRollout,
    ForgetSession,
    ForgetWaiting,
    KeptRecord,
    Persist,
    SaveAssignment,
    SaveBehind,
    SaveControls,
    SaveRollout,
    SaveSession,
    SaveShip,
    SaveSpend,
    SaveWaiting,
    SaveWishes,
    ShipRecord,
    WorkspaceRecord,
)
from mux.core.model import (
    Assignment,
    Doors,
    ProjectName,
    Session,
    SessionHash,
    ShipId,
    ShipState,
    ShipWanted,
    StartedOver,
    StartOver,
    UserId,
    Waiting,
    WorkspaceId,
    WorkspaceState,
)
from mux.core.rollout import Pace, Rollout, RolloutState
from mux.core.spend import Meter

texts = st.text(max_size=20)
counts = st.integers(min_value=0, max_value=2**63 - 1)
times = st.floats(min_value=0, max_value=1e12)
_few_users = st.sampled_from([UserId(f"user-{n}") for n in range(4)])
_few_ships = st.sampled_from([ShipId(f"ship-{n}") for n in range(2)])
_few_sessions = st.sampled_from([SessionHash(f"{n}" * 64) for n in range(4)])

workspaces = st.builds(
    WorkspaceRecord,
    id=texts.map(WorkspaceId),
    seat=counts,
    project=texts.map(ProjectName),
    digest=texts,
    port=st.integers(1, 65535),
    state=st.sampled_from(WorkspaceState),
    healthy=st.booleans(),
    previous=texts,
    swap_until=times,
    start_over=st.none() | st.builds(StartOver, counts, texts),
    started_over=st.none() | st.builds(StartedOver, counts, st.booleans(), texts, texts),
)
ships = st.builds(
    ShipRecord,
    id=_few_ships,
    state=st.sampled_from(ShipState),
    wanted=st.sampled_from(ShipWanted),
    boot=counts,
    boot_identity=texts,
    key=texts,
    generation=counts,
    seats=counts,
    host=texts,
    port_first=st.integers(1, 65535),
    port_count=st.integers(0, 65535),
    launched_at=times,
    cordoned=st.booleans(),
    draining=st.booleans(),
    failed=texts,
    incarnations=counts,
    workspaces=st.lists(workspaces, max_size=3).map(tuple),
    kept=st.lists(st.builds(KeptRecord, workspaces, _few_users, counts), max_size=2).map(tuple),
    kind=texts,
    spot=st.booleans(),
    replacing=st.booleans(),
    leaving=st.lists(counts, max_size=3).map(tuple),
    notices=st.lists(st.tuples(texts, st.none() | times), max_size=3).map(tuple),
    leave_at=st.none() | times,
)
controls = st.builds(
    SaveControls,
    doors=st.sampled_from(Doors),
    doors_opened=st.booleans(),
    launching=st.booleans(),
    ships_made=counts,
    turns=counts,
    paused=st.booleans(),
    parked=st.booleans(),
    target_seats=st.none() | counts,
    target_at=times,
    target_by=times,
    begun_for=times,
    begun_at=times,
    boot_s=times,
    spend_allowed=st.none() | times,
)
meters = st.builds(Meter, spent=times, ship_seconds=times, ships=counts, rate_micros=counts, at=times)
rollouts = st.builds(
    Rollout,
    project=texts.map(ProjectName),
    number=counts,
    image=texts,
    digest=texts,
    was_image=texts,
    was_digest=texts,
    back_image=texts,
    back_digest=texts,
    fetched=st.lists(_few_ships, max_size=2).map(tuple),
    file_digest=texts,
    pace=st.builds(Pace, share=times, count=counts, idle=st.booleans(), not_before=times, offer=st.booleans()),
    pushed_at=times,
    note=texts,
    rollback=st.booleans(),
    state=st.sampled_from(RolloutState),
    paused=st.booleans(),
    why=texts,
    proved=st.lists(_few_ships, max_size=2).map(tuple),
    refused=st.lists(st.tuples(_few_ships, texts), max_size=2).map(tuple),
    failed=st.lists(st.tuples(texts.map(WorkspaceId), texts), max_size=2).map(tuple),
    wave=st.lists(texts.map(WorkspaceId), max_size=2).map(tuple),
    watched_until=times,
    offered_at=times,
    accepted=st.lists(_few_users, max_size=2).map(tuple),
    wave_began_at=times,
    waves=counts,
    waves_s=times,
)
ages = st.builds(Behind, seconds=times, unheard_s=times, at=times)
commands: st.SearchStrategy[Persist] = st.one_of(
    st.builds(SaveShip, ships),
    st.builds(
        SaveAssignment,
        st.builds(Assignment, user=_few_users, ship=_few_ships, seat=st.integers(0, 2), epoch=st.integers(1, 5)),
    ),
    st.builds(ForgetAssignment, _few_users),
    st.builds(SaveSession, st.builds(Session, hash=_few_sessions, user=_few_users, expires_at=times)),
    st.builds(ForgetSession, _few_sessions),
    st.builds(SaveWaiting, st.builds(Waiting, user=_few_users, turn=counts, since=times)),
    st.builds(ForgetWaiting, _few_users),
    controls,
    st.builds(SaveSpend, meters),
    st.builds(SaveRollout, rollouts),
    st.builds(ForgetRollout, texts.map(ProjectName)),
    st.builds(SaveWishes, _few_users, st.dictionaries(texts.map(ProjectName), texts, max_size=2)),
    st.builds(SaveBehind, _few_users, st.dictionaries(texts.map(ProjectName), ages, max_size=2)),
)
