"""The command line: thin clients of the admin API, and the commands that start the daemon.

Owns words for people: options, tables, questions, exit codes. Knows no store and no engine: whatever a command shows
or does goes through the admin API, over the Unix socket in the data directory, or over TCP with a token.

Rules: heavy parts are imported inside the command that needs them, so that `mux status` answers at once; an error is
one line on stderr; nothing secret is ever an argument or part of an address.
"""

from __future__ import annotations

import sys

from mux.cli.errors import EXIT_INTERRUPTED

CLI_VARIABLES = frozenset({"MUX_CONFIG", "MUX_URL", "MUX_TOKEN", "MUX_TOKEN_FILE", "MUX_DEBUG"})
"""Environment variables that the command line reads beside those of the event file."""


def main() -> int:
    """The console script ``mux``: the exit code."""
    try:
        from mux.cli.app import run  # noqa: PLC0415 - the package itself must import fast
    except KeyboardInterrupt:
        # Half a second in which people press Ctrl-C, too.
        sys.stderr.write("mux: interrupted\n")
        return EXIT_INTERRUPTED
    return run(sys.argv[1:])
