"""Handlers of the admin API for people: the roster and the tokens of the API itself.

Rules: generated codes and tokens are in the answer that makes them and nowhere else. Whoever is removed or gets another
code has no session afterwards. What is taken in is taken in whole or not at all.
"""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import BaseModel

from mux.core.events import UserRevoked
from mux.core.model import Role, UserId
from mux.store.base import User
from mux.web.admin_api_deps import AdminDeps, GivenCode
from mux.web.admin_api_endpoint import Call, NotFoundError
from mux.web.admin_api_fleet import quoted
from mux.web.api_models import (
    Codes,
    Done,
    FreshCode,
    Roster,
    RosterAddIn,
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
    entered = await _entered(deps)
    return Roster(users=[_user_out(user, user.id in entered) for user in await deps.store.users()])


async def import_roster(deps: AdminDeps, call: Call) -> BaseModel:
    """Take in a CSV."""
    result = await deps.roster.import_csv(call.expect(RosterImportIn).csv)
    made = _codes(deps, result.codes)
    return RosterImported(
        event=made.event,
        address=made.address,
        codes=made.codes,
        created=result.created,
        updated=result.updated,
        unchanged=result.unchanged,
    )


async def add_user(deps: AdminDeps, call: Call) -> BaseModel:
    """One new entry."""
    body = call.expect(RosterAddIn)
    return _codes(deps, [await deps.roster.add(body.name, body.email, Role(body.role))])


async def reset_user(deps: AdminDeps, call: Call) -> BaseModel:
    """Another code; whoever came in with the old one is out."""
    user = await _find(deps, call.path["user"])
    given = await deps.roster.reset(user.id)
    await deps.engine.submit(UserRevoked(user.id, release=False))
    return _codes(deps, [given])


async def reset_slips(deps: AdminDeps, call: Call) -> BaseModel:  # noqa: ARG001 - as above
    """Other codes for everybody who has a generated one and has not come yet; nobody's session ends."""
    entered = await _entered(deps)
    absent = [user.id for user in await deps.store.users() if user.credential_kind == "code" and user.id not in entered]
    return _codes(deps, [await deps.roster.reset(user) for user in absent])


async def remove_user(deps: AdminDeps, call: Call) -> BaseModel:
    """An entry goes, its sessions end; with the flag ``release`` the seat is given back too.

    Sessions are ended twice: before, so that a crash in between leaves none behind that no entry belongs to, and after,
    for a login that fell in between.
    """
    user, release = await _find(deps, call.path["user"]), "release" in call.flags
    await deps.engine.submit(UserRevoked(user.id, release=release))
    await deps.store.remove_users([user.id])
    await deps.engine.submit(UserRevoked(user.id, release=release))
    return RosterRemoved(id=user.id, name=user.name, released=release)


async def tokens(deps: AdminDeps, call: Call) -> BaseModel:  # noqa: ARG001 - as above
    """Every token, without secrets."""
    return Tokens(
        tokens=[
            TokenOut.model_validate({"name": token.name, "scopes": list(token.scopes), "created_at": token.created_at})
            for token in await deps.tokens.list()
        ]
    )


async def add_token(deps: AdminDeps, call: Call) -> BaseModel:
    """A new token."""
    body = call.expect(TokenAddIn)
    scopes = list(dict.fromkeys(body.scopes))
    return TokenMade(name=body.name, scopes=scopes, token=await deps.tokens.make(body.name, scopes))


async def remove_token(deps: AdminDeps, call: Call) -> BaseModel:
    """A token is void from now on."""
    name = call.path["name"]
    if not await deps.tokens.remove(name):
        raise NotFoundError("token_unknown", f"there is no token {quoted(name)}; `mux token list` shows them")
    return Done(text=f"The token {quoted(name)} is void.")


async def _find(deps: AdminDeps, who: str) -> User:
    """The entry with this id, name or e-mail address. Raises NotFoundError."""
    user = await deps.store.user(UserId(who)) or await deps.store.find_user(who)
    if user is None:
        raise NotFoundError("user_unknown", f"nobody is called {quoted(who)}; `mux roster list` shows who is there")
    return user


async def _entered(deps: AdminDeps) -> frozenset[UserId]:
    """Everybody who has logged in, as far as the store remembers."""
    records = await deps.store.load(deps.clock())
    return frozenset(
        {session.user for session in records.sessions}
        | {waiting.user for waiting in records.waiting}
        | {assignment.user for assignment in records.assignments}
        | set(records.epochs)
    )


def _codes(deps: AdminDeps, given: Iterable[GivenCode]) -> Codes:
    return Codes(
        event=deps.engine.status(deps.clock()).event,
        address=deps.public_address,
        codes=[_fresh(one) for one in given],
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


def _fresh(given: GivenCode) -> FreshCode:
    user = given.user
    return FreshCode(id=user.id, name=user.name, email=user.email, role=user.role.value, code=given.code)
