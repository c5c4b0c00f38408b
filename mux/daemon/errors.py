"""Why the daemon cannot start, in one clear line."""

from __future__ import annotations

EXIT_FAILURE = 1
EXIT_CONFIG = 78
"""``EX_CONFIG`` of sysexits(3): starting again would end the same way."""


class StartError(Exception):
    """mux cannot start; the message says what to do. ``exit_code`` of the process."""

    def __init__(self, message: str, exit_code: int = EXIT_FAILURE) -> None:
        super().__init__(message)
        self.exit_code = exit_code
