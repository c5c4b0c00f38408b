"""Who may do what: everybody everything, less what is denied to a key. And dry runs, which ask just that."""

from __future__ import annotations

import base64
import zlib

from tests.fakes.ec2.errors import ApiError
from tests.fakes.ec2.model import Principal
from tests.fakes.ec2.wire import Params


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


def end_dry_run(params: Params) -> None:
    """Raise ``DryRunOperation`` if the request was one: it is permitted, and goes no further."""
    if params.get("DryRun"):
        raise ApiError("DryRunOperation", "Request would have succeeded, but DryRun flag is set.")
