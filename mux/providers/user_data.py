"""User-data: the one thing that a provider can tell a new machine, by which it becomes a ship.

Owns its form: a gzipped Python script, which cloud-init runs once as root: `ship_stub` and a last line that calls it
with ``launch.json``. Holds the join token, and no other secret. Whoever can read a machine's user-data can read that
token: it is spent with the first agent key that presents it.
"""

from __future__ import annotations

import gzip
import inspect
import json
from typing import Final

from mux import __version__
from mux.providers import ship_stub
from mux.providers.base import LaunchOrder, ProviderError

USER_DATA_BYTES_MAX: Final = 16 * 1024
"""EC2's bound of user-data before base64 (Amazon EC2 User Guide, "User data and console")."""
METADATA_URL: Final = "http://169.254.169.254"
"""Where a machine hears what its owner has announced for it."""
LAUNCH_VERSION: Final = 1


def user_data(order: LaunchOrder) -> bytes:
    """What to hand to the machine, gzipped. The same order gives the same bytes.

    Raises ProviderError (fatal) above USER_DATA_BYTES_MAX.
    """
    launch = {
        "launch_version": LAUNCH_VERSION,
        "version": __version__,
        "ship": order.ship,
        "event": order.event,
        "control_url": order.control_url,
        "ca_pem": order.ca_pem,
        "join_token": order.join_token,
        "runtime": order.runtime,
        "bundle": order.bundle,
        "metadata_url": METADATA_URL,
    }
    script = f"#!/usr/bin/python3 -I\n{inspect.getsource(ship_stub)}\nmain(json.loads({json.dumps(launch)!r}))\n"
    content = gzip.compress(script.encode(), 9, mtime=0)
    if len(content) > USER_DATA_BYTES_MAX:
        raise ProviderError(
            f"user-data has {len(content)} bytes, of which {USER_DATA_BYTES_MAX} are allowed; shorten the event's name "
            "or the control address",
            fatal=True,
        )
    return content
