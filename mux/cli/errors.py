"""What can go wrong on the command line, and the exit code of each."""

from __future__ import annotations

from collections.abc import Sequence

EXIT_OK = 0
EXIT_FAILURE = 1
EXIT_USAGE = 2
EXIT_NOT_RUNNING = 3
EXIT_INTERRUPTED = 130
"""128 and SIGINT, as shells have it."""


class CliError(Exception):
    """A command that is not carried out.

    Args:
        message: one line for people: what is so, and what to do next.
        detail: further lines, where there are several faults.
        code: exit code.
    """

    def __init__(self, message: str, *, detail: Sequence[str] = (), code: int = EXIT_FAILURE) -> None:
        super().__init__(message)
        self.message = message
        self.detail = tuple(detail)
        self.code = code


class UsageError(CliError):
    """The command line itself is wrong."""

    def __init__(self, message: str) -> None:
        super().__init__(message, code=EXIT_USAGE)


class NotRunningError(CliError):
    """There is no mux to talk to."""

    def __init__(self, message: str) -> None:
        super().__init__(message, code=EXIT_NOT_RUNNING)


class ApiRefusedError(CliError):
    """The admin API refused: ``api_code`` is its word for why."""

    def __init__(self, api_code: str, message: str, detail: Sequence[str] = ()) -> None:
        super().__init__(message, detail=detail)
        self.api_code = api_code
