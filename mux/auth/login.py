"""Who somebody is: login with a code or password, and registration with the event passcode.

Owns the order in which things are checked, and what a refusal says. Knows no HTTP, seat or session: the caller makes a
session of the user that comes back.

Rules:
- A generated code is always checked, whatever failed before, since it cannot be guessed: a room behind one NAT is never
  locked out by somebody else's failures. Chosen passwords and the event passcode are limited (see `limiter.py`).
- A wrong secret and an unknown name look alike, in text and in cost.
- A name that exists is entered with its own code only. The store decides who was first.
- No secret is logged, and no login name: it may be a secret typed into the wrong field.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import math
import secrets
from collections.abc import Awaitable, Callable

import structlog

from mux.auth.codes import code_hash, new_code
from mux.auth.limiter import (
    ADDRESS_FAILURES,
    ADDRESS_REFILL_PER_S,
    Attempt,
    Buckets,
    Limited,
    Limiter,
)
from mux.auth.line import Asker
from mux.auth.names import LOGIN_CHARS_MAX, clean, name_fault
from mux.auth.passwords import PASSWORD_CHARS_MAX, Busy, Passwords
from mux.auth.settings import AuthSettings
from mux.core.fold import fold
from mux.core.forwarded import address_key
from mux.core.model import Role, UserId
from mux.keys import Keyring
from mux.store.base import ConflictError, Store, StoreError, User

log = structlog.get_logger(__name__)

NEW_NAME_WAIT_MAX_S = 20.0
"""How long a newcomer's request is held while new names are paced; longer, and the page is told to come back."""
FULL_RETRY_S = 30.0
LIMITED_LOG_S = 10.0
"""At most one log line about limited logins in this time; it says how many there were."""

WRONG_TEXT = "That name and code or password do not belong together. Check both and try again."
LIMITED_TEXT = (
    "There were too many wrong passwords. A printed code still works at once; "
    "for a password, try again in {wait}. An organizer can give you a code."
)
BUSY_TEXT = "Many people are logging in with passwords. Try again in {wait}; a printed code works at once."


class LoginRefused(Exception):  # noqa: N818 - an answer to a person, not a defect
    """Not now, or not so.

    Args:
        code: ``wrong``, ``limited``, ``busy``; of registration also ``closed``, ``name_invalid``, ``name_taken``,
            ``passcode_wrong``, ``paced``, ``full``.
        text: for the person, with what to do next. Free of what was typed.
        retry_after_s: when another try can go better, in seconds; None when waiting does not help.
    """

    def __init__(self, code: str, text: str, retry_after_s: float | None = None) -> None:
        super().__init__(text)
        self.code = code
        self.text = text
        self.retry_after_s = retry_after_s


class Auth:
    """Logins and registrations of one event.

    Args:
        store: the roster.
        keys: for the keyed hashes of codes.
        settings: of the event; may be replaced while running, see :meth:`configure`.
        passwords: shared with whoever else hashes, since it is the bound.
        limiter: of failures.
        sleep: waits, in seconds.
    """

    def __init__(
        self,
        store: Store,
        keys: Keyring,
        settings: AuthSettings,
        *,
        passwords: Passwords | None = None,
        limiter: Limiter | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._store = store
        self._keys = keys
        self._passwords = passwords or Passwords()
        self._limiter = limiter or Limiter()
        self._sleep = sleep
        self._registering = asyncio.Lock()
        self._registered = 0
        self._limited_logged_at = -math.inf
        self._limited_unlogged = 0
        self._passcode_failures = Buckets(ADDRESS_FAILURES, ADDRESS_REFILL_PER_S)
        self._passcode_key = secrets.token_bytes(32)
        self.configure(settings)

    @property
    def settings(self) -> AuthSettings:
        """The settings in force."""
        return self._settings

    @property
    def passwords(self) -> Passwords:
        """The hasher; share it with :class:`mux.auth.roster.Roster`."""
        return self._passwords

    def configure(self, settings: AuthSettings) -> None:
        """Put other settings in force, after an event file was applied."""
        self._settings = settings
        self._names = Buckets(max(1.0, settings.new_names_per_minute), max(settings.new_names_per_minute, 1e-3) / 60, 1)
        self._passcode_known: bytes | None = None
        if settings.passcode is not None:
            self._passcode_known = self._passcode_digest(settings.passcode)

    def close(self) -> None:
        """Let the threads end."""
        self._passwords.close()

    # --- login ------------------------------------------------------------------------------------------------------

    async def login(self, login: str, secret: str, peer: str, now: float) -> User:
        """Who this is.

        Args:
            login: name or e-mail address; may be empty with a code, which belongs to one person anyway.
            secret: code or password, as typed.
            peer: the browser's IP address, as text.
            now: seconds since the epoch.

        Raises:
            LoginRefused: ``wrong``, ``limited`` or ``busy``.
            StoreError: the roster cannot be read.
        """
        if len(login) > LOGIN_CHARS_MAX or len(secret) > PASSWORD_CHARS_MAX:
            raise LoginRefused("wrong", WRONG_TEXT)
        by_code = await self._by_code(login, secret)
        if by_code is not None:
            return by_code
        try:
            attempt = self._limiter.admit(fold(login), address_key(peer), now)
        except Limited as limited:
            self._note_limited(address_key(peer), limited.retry_after_s, now)
            raise _limited(limited) from limited
        user = await self._by_password(login, secret, attempt, now)
        if user is None:
            log.info("login refused", address=attempt.address)
            raise LoginRefused("wrong", WRONG_TEXT)
        return user

    def _note_limited(self, address: str, retry_after_s: float, now: float) -> None:
        """Log it, but for those that follow at once: whoever is limited can go on asking at any pace."""
        if 0 <= now - self._limited_logged_at < LIMITED_LOG_S:
            self._limited_unlogged += 1
            return
        log.info("login limited", address=address, retry_after_s=round(retry_after_s), unlogged=self._limited_unlogged)
        self._limited_logged_at, self._limited_unlogged = now, 0

    async def _by_code(self, login: str, secret: str) -> User | None:
        credential = code_hash(self._keys, secret)
        if credential is None:
            return None
        user = await self._store.find_credential(credential)
        if user is None or (fold(login) and fold(login) not in {fold(user.name), fold(user.email)}):
            return None
        return user

    async def _by_password(self, login: str, secret: str, attempt: Attempt, now: float) -> User | None:
        asker = Asker(attempt.address, attempt.account)
        try:
            if attempt.delay_s:
                await self._sleep(attempt.delay_s)
            user = await self._store.find_user(login)
            hashed = user.credential if user is not None and user.credential_kind == "password" else None
            right = await self._passwords.verify(hashed, secret, asker)
        except Busy as busy:
            self._limiter.undone(attempt, now)
            raise LoginRefused(
                "busy", BUSY_TEXT.format(wait=wait_text(busy.retry_after_s)), busy.retry_after_s
            ) from busy
        except StoreError:
            self._limiter.undone(attempt, now)
            raise
        except BaseException:
            # The browser went away. Its attempt counts: going away early must not make guesses free.
            self._limiter.failed(attempt)
            raise
        if not right or user is None or hashed is None:
            self._limiter.failed(attempt)
            return None
        self._limiter.succeeded(attempt, now)
        await self._renew(user, secret, asker)
        return user

    async def _renew(self, user: User, password: str, asker: Asker) -> None:
        """Hash a password anew when the cost parameters have changed; the login does not depend on it."""
        if not self._passwords.outdated(user.credential):
            return
        try:
            renewed = await self._passwords.hash(password, asker)
            await self._store.swap_credential(user.id, user.credential, renewed)
        except (Busy, StoreError) as error:
            log.warning("password not rehashed", user=user.id, error=str(error))

    # --- registration -----------------------------------------------------------------------------------------------

    async def register(self, name: str, passcode: str, peer: str, *, seats_left: int, now: float) -> tuple[User, str]:
        """Take a newcomer into the roster, under a name that nobody has.

        Args:
            name: self-chosen.
            passcode: the event's, as typed.
            peer: the browser's IP address, as text.
            seats_left: seats that nobody has yet, as known at the call. Newcomers who get in between are subtracted.
            now: seconds since the epoch.

        Returns:
            The new entry and its return code, which is shown once and never again.

        Raises:
            LoginRefused: ``closed``, ``name_invalid``, ``limited``, ``busy``, ``passcode_wrong``, ``name_taken``,
                ``full`` or ``paced``.
            StoreError: the roster cannot be read or written.
        """
        settings, registered = self._settings, self._registered
        if not settings.self_registration:
            raise LoginRefused("closed", "This event has a list of attendees. Log in with the code on your slip.")
        name = clean(name[: 4 * LOGIN_CHARS_MAX])
        fault = name_fault(name) or ("A name cannot hold an @." if "@" in name else "")
        if fault:
            raise LoginRefused("name_invalid", fault)
        await self._check_passcode(passcode, Asker(address_key(peer), fold(name)), now)
        if await self._store.find_user(name) is not None:
            raise _taken()
        if seats_left <= 0:
            raise _full()
        await self._pace(now)
        async with self._registering:
            limit = settings.self_registration_max
            if seats_left <= self._registered - registered:
                raise _full()
            if limit is not None and await self._store.count_users(self_registered=True) >= limit:
                raise _full()
            code = new_code()
            user = User(
                id=new_user_id(),
                name=name,
                email="",
                role=Role.ATTENDEE,
                credential_kind="code",
                credential=code_hash(self._keys, code) or "",
                self_registered=True,
                created_at=now,
            )
            try:
                await self._store.save_users([user])
            except ConflictError as error:
                raise _taken() from error
            self._registered += 1
        log.info("name registered", user=user.id)
        return user, code

    async def _check_passcode(self, passcode: str, asker: Asker, now: float) -> None:
        address = asker.address
        if (wait_s := self._passcode_failures.take(address, now)) > 0:
            text = f"There were too many wrong passcodes from this network. Try again in {wait_text(wait_s)}."
            raise LoginRefused("limited", text, wait_s)
        try:
            right = await self._passcode_right(passcode, asker)
        except Busy as busy:
            self._passcode_failures.give_back(address, now)
            raise LoginRefused(
                "busy", BUSY_TEXT.format(wait=wait_text(busy.retry_after_s)), busy.retry_after_s
            ) from busy
        if not right:
            log.info("passcode refused", address=address)
            raise LoginRefused(
                "passcode_wrong", "That is not the event's passcode. It stands on the organizers' slide."
            )
        self._passcode_failures.give_back(address, now)

    async def _passcode_right(self, passcode: str, asker: Asker) -> bool:
        """Constant time. A hashed passcode is slow until it was right once; from then on its digest is known."""
        passcode = passcode[:PASSWORD_CHARS_MAX]
        digest = self._passcode_digest(passcode)
        if self._passcode_known is not None:
            return hmac.compare_digest(self._passcode_known, digest)
        settings = self._settings
        right = await self._passwords.verify(settings.passcode_hash, clean(passcode), asker)
        if right and settings is self._settings:
            self._passcode_known = digest
        return right

    def _passcode_digest(self, passcode: str) -> bytes:
        text = clean(passcode).encode("utf-8", "surrogatepass")
        return hmac.digest(self._passcode_key, text, hashlib.sha256)

    async def _pace(self, now: float) -> None:
        wait_s = self._names.draw("names", now)
        if wait_s > NEW_NAME_WAIT_MAX_S:
            self._names.give_back("names", now)
            text = f"Many people are arriving. Your turn comes in about {wait_text(wait_s)}; try again then."
            raise LoginRefused("paced", text, wait_s)
        if wait_s > 0:
            await self._sleep(wait_s)


def new_user_id() -> UserId:
    """A fresh id of a roster entry: 64 random bits, opaque."""
    return UserId(secrets.token_hex(8))


def wait_text(seconds: float) -> str:
    """A time to wait, for people: ``20 seconds``, ``3 minutes``. Rounded up."""
    whole = max(1, math.ceil(seconds))
    if whole < 100:
        return "1 second" if whole == 1 else f"{whole} seconds"
    return f"{math.ceil(whole / 60)} minutes"


def _limited(limited: Limited) -> LoginRefused:
    return LoginRefused("limited", LIMITED_TEXT.format(wait=wait_text(limited.retry_after_s)), limited.retry_after_s)


def _taken() -> LoginRefused:
    return LoginRefused(
        "name_taken",
        "Somebody is here under that name. If it is you, log in with your return code; otherwise choose another name.",
    )


def _full() -> LoginRefused:
    return LoginRefused("full", "Every seat is taken. Ask an organizer; more may be on their way.", FULL_RETRY_S)
