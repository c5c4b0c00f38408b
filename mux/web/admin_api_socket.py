"""The Unix socket of the admin API: where it lies, how it is made, and the app that it serves.

Rules: mode 0600 in a directory of mode 0700, from the first moment on. It is bound under a name of its own and moved
into place, so that a restart never leaves a gap or a stale file that refuses the command line.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path

from aiohttp import web

from mux.web.admin_api import admin_api
from mux.web.admin_api_deps import AdminDeps

ADMIN_SOCKET = Path("run") / "admin.sock"
"""Below the data directory."""
SOCKET_PATH_BYTES_MAX = 107
"""``sun_path`` of unix(7) less its closing zero."""
BACKLOG = 64
"""Command lines waiting to be accepted; people type slower."""


class SocketPathError(Exception):
    """The socket cannot be made; the message says what to do."""


def bind_admin_socket(path: Path) -> socket.socket:
    """A listening Unix socket at ``path``, mode 0600. Raises SocketPathError."""
    temporary = path.with_name(f".{os.getpid()}")
    longest = max(len(os.fsencode(path)), len(os.fsencode(temporary)))
    if longest > SOCKET_PATH_BYTES_MAX:
        raise SocketPathError(
            f"{path}: {longest} bytes are too long for a Unix socket (at most {SOCKET_PATH_BYTES_MAX}); "
            "choose a data directory with a shorter path"
        )
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        temporary.unlink(missing_ok=True)
        # The mode of the new file comes from the socket's own (unix(7)), so that there is no moment with a wider one.
        os.fchmod(listener.fileno(), 0o600)
        listener.bind(os.fspath(temporary))
        temporary.chmod(0o600)
        listener.listen(BACKLOG)
        listener.setblocking(False)
        temporary.replace(path)
    except OSError as error:
        listener.close()
        raise SocketPathError(f"{path}: {error.strerror}; mux needs to make a socket there") from error
    return listener


async def serve_admin_socket(deps: AdminDeps, path: Path) -> web.AppRunner:
    """Serve the API with full rights on a Unix socket; ``cleanup()`` of the answer ends it. Raises SocketPathError."""
    app = web.Application()
    app.add_routes(admin_api(deps, trusted=True))
    runner = web.AppRunner(app, access_log=None, handle_signals=False)
    await runner.setup()
    listener = bind_admin_socket(path)
    await web.SockSite(runner, listener).start()
    return runner
