"""The command line's end of the admin API: where it is, and one request at a time.

Blocking, on the standard library alone, so that commands start fast. Talks to the Unix socket of a data directory, or
to an address with a token.

Rules: a token comes from the environment or a file that only its owner can read, never from the command line, and goes
over TLS or to this machine only; redirects are not followed; an answer has a bound.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import stat
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from mux.cli.errors import ApiRefusedError, CliError, NotRunningError, UsageError
from mux.cli.output import plain
from mux.lockfile import holder

API_PREFIX = "/api/v1"
SOCKET_BELOW_DATA = Path("run") / "admin.sock"
CONFIG_DEFAULT = Path("event.toml")
DATA_DEFAULT = "data"
"""``[data] directory`` of an event file that does not say."""

TIMEOUT_S = 120.0
"""For one answer: longer than the engine's longest wait."""
LONG_TIMEOUT_S = 900.0
"""For a roster with thousands of chosen passwords, each of which takes a tenth of a second to hash."""
ANSWER_BYTES_MAX = 64 * 1024 * 1024
"""A status of 1,000 ships with 64 seats each is about 30 MB."""
TOKEN_FILE_BYTES_MAX = 4096
"""A token is 50 characters."""
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


@dataclass(frozen=True, slots=True)
class Place:
    """Where mux is, as the options say.

    Args:
        config: event file; None for ``event.toml`` here.
        data: data directory; None for the event file's.
        url: address of the admin listener; None for the Unix socket.
        token_file: file with the token; None for the environment's.
    """

    config: Path | None = None
    data: Path | None = None
    url: str | None = None
    token_file: Path | None = None

    @property
    def config_path(self) -> Path:
        """The event file."""
        return self.config or CONFIG_DEFAULT

    def data_directory(self) -> Path:
        """The data directory. Raises UsageError when nothing names one."""
        if self.data is not None:
            return self.data
        path = self.config_path
        variable = os.environ.get("MUX_DATA_DIRECTORY")
        if variable:
            return path.parent / variable
        try:
            with path.open("rb") as file:
                table = tomllib.load(file).get("data", {})
        except FileNotFoundError as error:
            raise UsageError(
                f"there is no {path}; name the event file with --config or the data directory with --data"
            ) from error
        except OSError as error:
            raise UsageError(f"{path}: {error.strerror}") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise UsageError(f"{path} is not TOML ({error}); name the data directory with --data") from error
        directory = table.get("directory", DATA_DEFAULT) if isinstance(table, dict) else DATA_DEFAULT
        return path.parent / str(directory)


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        """Open the socket; OSError as any connection."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(os.fspath(self._path))


class Api:
    """The admin API of one mux. Calls raise CliError."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._token = _token(place) if place.url else ""

    def get(self, path: str) -> Any:
        """The JSON of a GET."""
        return self._call("GET", path, None, TIMEOUT_S)

    def post(self, path: str, body: dict[str, Any] | None = None, *, timeout_s: float = TIMEOUT_S) -> Any:
        """The JSON of a POST."""
        return self._call("POST", path, body, timeout_s)

    def delete(self, path: str, *, timeout_s: float = TIMEOUT_S) -> Any:
        """The JSON of a DELETE."""
        return self._call("DELETE", path, None, timeout_s)

    def download(self, path: str, take: Callable[[bytes], object]) -> None:
        """The bytes of a GET, piece by piece; ``take`` may raise."""
        connection, where = self._connection(LONG_TIMEOUT_S)
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        with _translated(where, LONG_TIMEOUT_S, connection):
            connection.request("GET", API_PREFIX + path, headers=headers)
            response = connection.getresponse()
            if response.status >= 400:
                _parsed(response.status, response.read(ANSWER_BYTES_MAX), where)
            while piece := response.read(1 << 16):
                take(piece)

    def _call(self, method: str, path: str, body: dict[str, Any] | None, timeout_s: float) -> Any:
        headers = {"Accept": "application/json"}
        data = None
        if method == "POST":
            headers["Content-Type"] = "application/json"
            data = json.dumps(body or {}, ensure_ascii=False).encode("utf-8", "surrogateescape")
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        connection, where = self._connection(timeout_s)
        with _translated(where, timeout_s, connection, writes=method != "GET"):
            connection.request(method, API_PREFIX + path, body=data, headers=headers)
            response = connection.getresponse()
            raw = response.read(ANSWER_BYTES_MAX + 1)
        if len(raw) > ANSWER_BYTES_MAX:
            raise CliError("mux answered with more than this program takes; are both of the same version?")
        return _parsed(response.status, raw, where)

    def _connection(self, timeout_s: float) -> tuple[http.client.HTTPConnection, str]:
        if self._place.url is None:
            path = self._place.data_directory() / SOCKET_BELOW_DATA
            return _UnixConnection(path, timeout_s), str(path)
        scheme, host, port = _address(self._place.url)
        if scheme == "https":
            return http.client.HTTPSConnection(host, port, timeout=timeout_s), self._place.url
        return http.client.HTTPConnection(host, port, timeout=timeout_s), self._place.url


def _starts(where: Path) -> bool:
    """Whether a supervisor holds the data directory of this socket: then its control process comes by itself."""
    data = where.parents[1]  # the socket is at SOCKET_BELOW_DATA
    return holder(data) is not None


@contextlib.contextmanager
def _translated(
    where: str, timeout_s: float, connection: http.client.HTTPConnection, *, writes: bool = False
) -> Iterator[None]:
    """Turn what goes wrong on the way into sentences for people, and close the connection.

    Args:
        where: that is asked.
        timeout_s: how long an answer is waited for, in seconds.
        connection: to it.
        writes: what is asked for changes something, and may have, whatever becomes of the answer.
    """
    done = "; what was asked for may have been done, so look before you repeat it" if writes else ""
    try:
        yield
    except (FileNotFoundError, ConnectionRefusedError) as error:
        if _starts(Path(where)):
            raise NotRunningError(f"mux is starting: nothing answers at {where} yet; try again in a moment") from error
        raise NotRunningError(f"mux is not running: nothing answers at {where}; start it with `mux serve`") from error
    except PermissionError as error:
        raise CliError(f"{where}: permission denied; run this as the user that mux runs as") from error
    except TimeoutError as error:
        raise CliError(
            f"mux did not answer within {timeout_s:.0f} seconds; `mux status` shows what it did{done}"
        ) from error
    except (http.client.HTTPException, ConnectionError) as error:
        raise NotRunningError(
            f"mux went away while it was asked; `mux status` shows whether it is back{done}"
        ) from error
    except OSError as error:
        raise NotRunningError(f"mux cannot be reached at {where}: {error.strerror or error}") from error
    finally:
        connection.close()


def segment(text: str) -> str:
    """A text as one segment of a path (RFC 3986 section 3.3). Raises UsageError for one that cannot be."""
    if text in {"", ".", ".."}:
        raise UsageError("a name must not be empty")
    return quote(text, safe="")


def _parsed(status: int, raw: bytes, where: str) -> Any:
    try:
        answer = json.loads(raw)
    except ValueError as error:
        raise CliError(f"what answers at {where} is not mux's admin API (status {status})") from error
    if status < 400:
        return answer
    refusal = answer.get("error") if isinstance(answer, dict) else None
    if not isinstance(refusal, dict):
        raise CliError(f"what answers at {where} is not mux's admin API (status {status})")
    raise ApiRefusedError(
        str(refusal.get("code", "")),
        plain(refusal.get("message", f"refused with status {status}")),
        [plain(line) for line in refusal.get("detail", [])],
    )


def _address(url: str) -> tuple[str, str, int | None]:
    """Scheme, host and port of ``--url``. Raises UsageError."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise UsageError(f"--url: {error}") from error
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise UsageError("--url is an address such as https://mux.example.org:8001")
    if parts.username is not None or parts.query or parts.fragment or parts.path.strip("/"):
        raise UsageError("--url is scheme, host and port only; the token comes from MUX_TOKEN or --token-file")
    if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
        raise UsageError("--url must be https, unless mux is on this machine: the token would be readable on the way")
    return parts.scheme, parts.hostname, port


def _token(place: Place) -> str:
    """The token for a remote mux. Raises UsageError."""
    if place.token_file is None:
        token = os.environ.get("MUX_TOKEN", "")
        if not token:
            raise UsageError("--url needs a token: set MUX_TOKEN, or name a file with --token-file")
    else:
        path = place.token_file
        try:
            with path.open("rb") as file:
                mode = os.fstat(file.fileno()).st_mode
                raw = file.read(TOKEN_FILE_BYTES_MAX)
        except OSError as error:
            raise UsageError(f"{path}: {error.strerror}") from error
        if stat.S_IMODE(mode) & 0o077:
            raise UsageError(f"{path} can be read by others: chmod 600 it, and make another token")
        token = raw.decode("ascii", "replace")
    token = token.strip()
    if not token.isascii() or not token.isprintable() or " " in token or not token:
        raise UsageError("the token is not one: it is a single line that `mux token add` printed")
    return token
