"""What auth is told about the event. The daemon fills it from the event file; auth reads no configuration itself."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class AuthSettings:
    """Settings of logins.

    Args:
        passcode: the event passcode as it is written on the slide; with it, newcomers may choose a name themselves.
        passcode_hash: the same as argon2id, for those who do not want to write it into a file. One of the two is
            enough; with neither, only the roster enters.
        session_hours: how long an attendee's session lasts.
        organizer_session_hours: how long an organizer's session lasts.
        self_registration_max: how many self-chosen names there may be; None for as many as there are seats.
        new_names_per_minute: pace of new names. A minute's worth may come at once; who comes faster waits.
    """

    passcode: str | None = field(default=None, repr=False)
    passcode_hash: str | None = field(default=None, repr=False)
    session_hours: float = 24.0
    organizer_session_hours: float = 12.0
    self_registration_max: int | None = None
    new_names_per_minute: float = 300.0

    @property
    def self_registration(self) -> bool:
        """Whether newcomers may choose a name themselves."""
        return self.passcode is not None or self.passcode_hash is not None
