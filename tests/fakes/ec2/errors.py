"""What EC2 refuses with: a code for programs, a sentence for people, an HTTP status."""

from __future__ import annotations

# The codes that do not come as 400 Bad Request.
_STATUS = {
    "AuthFailure": 401,
    "UnauthorizedOperation": 403,
    "InvalidClientTokenId": 403,
    "AccessDenied": 403,
    "NoSuchEntity": 404,
    "DryRunOperation": 412,
    "InsufficientInstanceCapacity": 500,
    "InternalError": 500,
    "RequestLimitExceeded": 503,
    "Unavailable": 503,
}


class ApiError(Exception):
    """A refusal, as the service would answer it.

    Args:
        code: for instance ``InvalidAMIID.NotFound``.
        message: what EC2 says in that case.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message

    @property
    def status(self) -> int:
        """The HTTP status that it travels with."""
        return _STATUS.get(self.code, 400)


def not_in_fake(what: str) -> ApiError:
    """Something that EC2 knows and this fake does not: an error rather than silence, and no code of EC2's."""
    return ApiError("NotInFake", f"{what} is not part of the fake EC2; teach it, or do without.")


def throttled() -> ApiError:
    """Too many requests, or too many instances in them."""
    return ApiError("RequestLimitExceeded", "Request limit exceeded.")
