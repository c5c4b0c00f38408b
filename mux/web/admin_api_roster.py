"""Handlers of the admin API for people: the roster and the tokens of the API itself.

Rules: generated codes and tokens are in the answer that makes them and nowhere else. Whoever is removed or gets another
code has no session afterwards. What is taken in is taken in whole or not at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pydantic import BaseModel

from mux.core.events import UserRevoked, WishesWithdrawn
from mux.core.model import Role, UserId
from mux.store.base import User
from mux.web.admin_api_deps import AdminDeps, GeneratedCode
from mux.web.admin_api_endpoint import TEXT_BODY_BYTES_MAX, ApiError, Call, Endpoint, NotFoundError, Scope
from mux.web.admin_api_fleet import quoted
from mux.web.api_models import (
    Codes,
    Done,
    FreshCode,
    Roster,
    RosterAddIn,
    RosterEmptied,
    RosterImported,
    RosterImportIn,
    RosterRemoved,
    TokenAddIn,
    TokenMade,
    TokenOut,
    Tokens,
    UserOut,
)


async def roster(deps: AdminDeps, call: Call) -> BaseModel:  # noqa: ARG001 - every handler has the same shape
    """Who may enter."""
    seen = await deps.store.seen_users()
    return Roster(users=[_user_out(user, user.id in seen) for user in await deps.store.users()])


async def import_roster(deps: AdminDeps, call: Call) -> BaseModel:
    """Take in a CSV. Whose credential or role it changed has no session afterwards."""
    changes = await deps.roster.import_csv(call.expect(RosterImportIn).csv, deps.clock())
    await _revoke(deps, changes.revoked)
    made = _codes(deps, changes.codes)
    return RosterImported(
        event=made.event,
        address=made.address,
        codes=made.codes,
        created=changes.created,
        updated=changes.updated,
        unchanged=changes.unchanged,
    )


async def add_user(deps: AdminDeps, call: Call) -> BaseModel:
    """One new entry."""
    body = call.expect(RosterAddIn)
    _, code = await deps.roster.add(body.name, body.email, Role(body.role), now=deps.clock())
    return _codes(deps, [code] if code is not None else [])


async def reset_user(deps: AdminDeps, call: Call) -> BaseModel:
    """Another code; whoever came in with the old one is out."""
    user, code = await deps.roster.reset(call.path["user"])
    await _revoke(deps, [user.id])
    return _codes(deps, [code])


async def reset_slips(deps: AdminDeps, call: Call) -> BaseModel:  # noqa: ARG001 - as above
    """Other codes for everybody who has a generated one and has never come."""
    changes = await deps.roster.reissue()
    await _revoke(deps, changes.revoked)
    return _codes(deps, changes.codes)


async def remove_user(deps: AdminDeps, call: Call) -> BaseModel:
    """An entry goes, its sessions end; with the flag ``release`` the seat is given back too.

    Sessions are ended twice: before, so that a crash in between leaves none behind that no entry belongs to, and after,
    for a login that fell in between.
    """
    who, release = call.path["user"], "release" in call.flags
    found = await deps.store.find_user(who) or await deps.store.user(UserId(who))
    if found is not None:
        await deps.engine.submit(UserRevoked(found.id, release=release))
    user = await deps.roster.remove(who)
    await deps.engine.submit(UserRevoked(user.id, release=release), WishesWithdrawn(user.id))
    return RosterRemoved(id=user.id, name=user.name, released=release)


async def remove_everybody(deps: AdminDeps, call: Call) -> BaseModel:  # noqa: ARG001 - as above
    """Every entry goes, and every session ends: before and after, as with one. Seats must have been given back.

    Whoever waits for a seat waits no longer, nor keeps one that was given meanwhile: nobody could enter it any more.
    """
    users = [user.id for user in await deps.store.users()]
    if seats := deps.engine.status(deps.clock()).seats_assigned:
        who = "somebody still has a seat" if seats == 1 else f"{seats} people still have seats"
        raise ApiError(
            409,
            "has_seat",
            f"{who}, so nobody was removed: end the event with `mux fleet reap`, or give seats back with "
            f"`mux seat release`, then try again",
        )
    await _end_all(deps, users, release=False)
    gone = await deps.roster.remove_all()
    await _end_all(deps, gone, release=True)
    return RosterEmptied(removed=len(gone))


async def tokens(deps: AdminDeps, call: Call) -> BaseModel:  # noqa: ARG001 - as above
    """Every token, without secrets."""
    return Tokens(
        tokens=[
            TokenOut.model_validate({"name": token.name, "scopes": list(token.scopes), "created_at": token.created_at})
            for token in await deps.store.tokens()
        ]
    )


async def add_token(deps: AdminDeps, call: Call) -> BaseModel:
    """A new token."""
    body = call.expect(TokenAddIn)
    scopes = list(dict.fromkeys(body.scopes))
    return TokenMade(name=body.name, scopes=scopes, token=await deps.tokens.mint(body.name, scopes, deps.clock()))


async def remove_token(deps: AdminDeps, call: Call) -> BaseModel:
    """A token is void from now on."""
    name = call.path["name"]
    if not await deps.tokens.revoke(name):
        raise NotFoundError("token_unknown", f"there is no token {quoted(name)}; `mux token list` shows them")
    return Done(text=f"The token {quoted(name)} is void.")


async def _end_all(deps: AdminDeps, users: Sequence[UserId], *, release: bool) -> None:
    """End attendees' sessions and wishes; organizers' sessions go with their entries."""
    events = [event for user in users for event in (UserRevoked(user, release), WishesWithdrawn(user))]
    if events:
        await deps.engine.submit(*events)


async def _revoke(deps: AdminDeps, users: Sequence[UserId]) -> None:
    """End everything that came from credentials that are void now."""
    for user in users:
        await deps.store.remove_organizer_sessions(user=user)
    if users:
        await deps.engine.submit(*(UserRevoked(user, release=False) for user in users))


def _codes(deps: AdminDeps, made: Iterable[GeneratedCode]) -> Codes:
    return Codes(
        event=deps.engine.status(deps.clock()).event,
        address=deps.public_address,
        codes=[FreshCode(name=one.name, email=one.email, role=one.role.value, code=one.code) for one in made],
    )


def _user_out(user: User, entered: bool) -> UserOut:
    return UserOut(
        id=user.id,
        name=user.name,
        email=user.email,
        role=user.role.value,
        credential_kind=user.credential_kind,
        self_registered=user.self_registered,
        entered=entered,
        created_at=user.created_at,
    )


ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint("GET", "/roster", Scope.ROSTER, "Who may enter", roster, Roster, tag="roster"),
    Endpoint(
        "POST",
        "/roster",
        Scope.ROSTER,
        "Add one entry; shows its code once",
        add_user,
        Codes,
        RosterAddIn,
        status=201,
        refusals=(409,),
        tag="roster",
    ),
    Endpoint(
        "POST",
        "/roster/import",
        Scope.ROSTER,
        "Take in a CSV; shows generated codes once",
        import_roster,
        RosterImported,
        RosterImportIn,
        body_bytes_max=TEXT_BODY_BYTES_MAX,
        refusals=(409,),
        tag="roster",
    ),
    Endpoint(
        "POST",
        "/roster/slips",
        Scope.ROSTER,
        "Other codes for all who have not come yet; shown once",
        reset_slips,
        Codes,
        tag="roster",
    ),
    Endpoint(
        "POST",
        "/roster/{user}/reset",
        Scope.ROSTER,
        "Another code, shown once; ends the sessions",
        reset_user,
        Codes,
        tag="roster",
    ),
    Endpoint(
        "DELETE",
        "/roster/{user}",
        Scope.ROSTER,
        "Remove an entry; ends the sessions",
        remove_user,
        RosterRemoved,
        flags={"release": "Give the seat back too; what was bound there is destroyed."},
        tag="roster",
    ),
    Endpoint(
        "DELETE",
        "/roster",
        Scope.ROSTER,
        "Remove everybody, once nobody has a seat; ends every session",
        remove_everybody,
        RosterEmptied,
        refusals=(409,),
        tag="roster",
    ),
)
"""What the route table has of the roster."""
