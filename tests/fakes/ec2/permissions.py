"""Who may do what: everybody everything, less what is denied to a key."""

from __future__ import annotations

import base64
import zlib

from tests.fakes.ec2.errors import ApiError
from tests.fakes.ec2.model import Principal


def allow(caller: Principal, permission: str) -> None:
    """Raise ``UnauthorizedOperation`` for a denied permission such as ``ec2:RunInstances``."""
    if permission not in caller.denied:
        return
    encoded = base64.urlsafe_b64encode(zlib.compress(f"{caller.arn} {permission}".encode())).decode()
    raise ApiError(
        "UnauthorizedOperation",
        f"You are not authorized to perform this operation. User: {caller.arn} is not authorized to perform: "
        f"{permission} because no identity-based policy allows the {permission} action. Encoded authorization failure "
        f"message: {encoded}",
    )
