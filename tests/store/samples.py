"""Records to save."""

from __future__ import annotations

from dataclasses import replace

from mux.core.commands import (
    KeptRecord,
    SaveAssignment,
    ShipRecord,
    WorkspaceRecord,
)
from mux.core.model import (
    Assignment,
    ProjectName,
    Role,
    Session,
    SessionHash,
    ShipId,
    ShipState,
    ShipWanted,
    UserId,
    WorkspaceId,
    WorkspaceState,
)
from mux.core.rollout import Pace, Rollout
from mux.store.base import User

SHIP = ShipRecord(
    id=ShipId("ship-0001"),
    state=ShipState.RUNNING,
    wanted=ShipWanted.RUN,
    boot=2,
    boot_identity="boot-b",
    key="ab" * 32,
    generation=7,
    seats=2,
    host="127.0.0.1",
    port_first=20000,
    port_count=100,
    launched_at=1000.25,
    cordoned=False,
    draining=True,
    failed="",
    incarnations=3,
    workspaces=(
        WorkspaceRecord(
            id=WorkspaceId("ship-0001.0.intro.1"),
            seat=0,
            project=ProjectName("intro"),
            digest="sha256:1",
            port=20000,
            state=WorkspaceState.BOUND,
            healthy=True,
        ),
    ),
    kept=(
        KeptRecord(
            WorkspaceRecord(
                id=WorkspaceId("ship-0001.1.intro.2"),
                seat=1,
                project=ProjectName("intro"),
                digest="sha256:1",
                port=20001,
                state=WorkspaceState.SUSPENDED,
                healthy=False,
            ),
            user=UserId("ada"),
            epoch=3,
        ),
    ),
)

ROLLOUT = Rollout(
    project=ProjectName("intro"),
    number=3,
    image="images/intro-fix ✗",
    digest="sha256:2",
    was_image="images/intro",
    was_digest="sha256:1",
    file_digest="sha256:1",
    pace=Pace(share=0.25, idle=True, not_before=12.5),
    pushed_at=10.25,
    note="fixes\x00cell 4",
    proved=(ShipId("ship-0001"),),
    refused=((ShipId("ship-0002"), "exited"),),
    failed=((WorkspaceId("ship-0001.0.intro.1"), "no answer"),),
    wave=(WorkspaceId("ship-0001.1.intro.2"),),
    watched_until=99.5,
    offered_at=50.5,
    accepted=(UserId("ada"), UserId("bob")),
)


def assignment(user: str, seat: int, epoch: int = 1, ship: str = "ship-0001") -> SaveAssignment:
    return SaveAssignment(Assignment(UserId(user), ShipId(ship), seat, epoch))


def session(name: str, user: str = "ada", expires_at: float = 100.0) -> Session:
    return Session(SessionHash(name), UserId(user), expires_at)


def person(user: str, name: str, email: str = "", credential: str | None = None) -> User:
    code = credential if credential is not None else f"hash of {user}"
    return User(UserId(user), name, email, Role.ATTENDEE, "code", code, created_at=5.5)


def terminated(ship: ShipRecord) -> ShipRecord:
    return replace(ship, state=ShipState.TERMINATED, wanted=ShipWanted.GONE, workspaces=())
