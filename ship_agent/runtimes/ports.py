"""Ports of workspaces on a ship's machine."""

from __future__ import annotations

import socket

from ship_agent.runtimes.base import RuntimeFailure


def check_port(address: str, port: int) -> None:
    """Raises RuntimeFailure if something listens on a port of this machine's address."""
    with socket.socket() as probe:
        # Connections of an earlier run that linger in TIME_WAIT are no obstacle; a listener is.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            raise RuntimeFailure(
                "port_in_use",
                f"port {port} is in use by another program: {error.strerror}; end that program",
                retryable=True,
            ) from error
