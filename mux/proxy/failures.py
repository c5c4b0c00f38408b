"""What a client is told when its upstream failed.

Sans-I/O. Owns statuses, codes and texts of the kinds that :mod:`mux.proxy.exchange` tells apart. Rule: each says what
is so, and a page reloads itself.
"""

from __future__ import annotations

from mux.proxy.limits import RELOAD_S
from mux.proxy.refusal import Refusal
from mux.proxy.routing import Destination

WORKSPACE_TEXTS = {
    "refused": "Your workspace does not answer yet.",
    "connect_timeout": "Your workspace's machine does not answer.",
    "reset": "Your workspace ended the connection before it answered.",
    "malformed": "Your workspace sent an answer that cannot be passed on.",
    "response_timeout": "Your workspace did not answer in time.",
}
"""By kind of failure."""

_STATUSES = {"refused": 503, "connect_timeout": 504, "reset": 502, "malformed": 502, "response_timeout": 504}


def upstream_failed(kind: str, destination: Destination, *, control_up: bool) -> Refusal:
    """The answer to a request whose upstream failed.

    Args:
        kind: one of those of ``WORKSPACE_TEXTS``.
        destination: where the request went.
        control_up: whether the control process is known to run: else that it does not answer is no fault of its own.
    """
    status = _STATUSES[kind]
    if destination.port and kind in ("refused", "reset"):
        # An engine's own proxy takes connections for a port at which nothing listens, and drops them.
        status, code = 503, "port_" + kind
        text = f"Nothing answers at the port {destination.port} of your workspace. Start its program there."
    elif destination.workspace:
        code, text = "workspace_" + kind, WORKSPACE_TEXTS[kind]
    else:
        status = status if control_up else 503
        code, text = "control_" + kind, "The event's control process will be back in a few seconds."
    return Refusal(status, code, text, reload_s=RELOAD_S)
