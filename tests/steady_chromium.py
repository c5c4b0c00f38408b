#!/usr/bin/env python3
"""Debian's Chromium, blind to network interfaces that come and go.

Chromium ends requests under way with ERR_NETWORK_CHANGED when an address appears on any interface, and tests of
containers beside it make networks all the time. It hears of them through a netlink socket: one that it cannot open
counts as a network that never changes. So this process forbids those, by seccomp, and becomes Chromium. Where seccomp
is not to be had, it becomes Chromium as it is.
"""

from __future__ import annotations

import ctypes
import os
import platform
import socket
import struct
import sys

CHROMIUM = "chromium"
NO_NEW_PRIVILEGES, SECCOMP, FILTER = 38, 22, 2
"""Numbers of prctl(2)."""
LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06
"""Instructions of a filter, as seccomp(2) has them: load a word, jump if it is equal, return."""
ALLOW, REFUSE = 0x7FFF0000, 0x00050000 | 97
"""What a filter returns; 97 is EAFNOSUPPORT."""
NUMBER_AT, FIRST_ARGUMENT_AT = 0, 16
"""Offsets in what a filter looks at."""
SOCKET = {"x86_64": 41, "aarch64": 198}
"""Number of the system call socket(2)."""


def forbid_netlink(call: int) -> None:
    """From now on, and for every program that follows, socket(AF_NETLINK, …) fails.

    Args:
        call: number of socket(2) on this machine.
    """
    instructions = [
        (LOAD, 0, 0, NUMBER_AT),
        (EQUAL, 0, 3, call),
        (LOAD, 0, 0, FIRST_ARGUMENT_AT),
        (EQUAL, 0, 1, socket.AF_NETLINK),
        (RETURN, 0, 0, REFUSE),
        (RETURN, 0, 0, ALLOW),
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *each) for each in instructions))
    program = struct.pack("HxxxxxxQ", len(instructions), ctypes.addressof(code))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    libc.prctl(SECCOMP, FILTER, ctypes.create_string_buffer(program), 0, 0)


if __name__ == "__main__":
    if (number := SOCKET.get(platform.machine())) is not None:
        forbid_netlink(number)
    os.execvp(CHROMIUM, [CHROMIUM, *sys.argv[1:]])
