"""A Jupyter server as its browser uses it: contents, sessions, kernels over WebSockets.

Owns the requests and their words. Knows nothing of where the server runs. Sources: Jupyter Server's REST API
(``api/contents``, ``api/sessions``, ``api/kernels``) and "Messaging in Jupyter" of jupyter-client, in the JSON form
that a WebSocket without a subprotocol has.

Rules: what a notebook prints is not kept; a message that is too large ends the socket, and with it the notebook's run.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import aiohttp

NOTEBOOKS_MAX = 500
"""More notebooks than that are no tutorial; the rest is not run."""
DEPTH_MAX = 8
MESSAGE_BYTES_MAX = 256 << 20
"""Bound of one message of a kernel: a cell with many pictures has tens of megabytes."""
REPLY_MAX_S = 30.0
"""How long a kernel that has nothing to do may take for an answer."""
ERROR_CHARS_MAX = 200
_DEAD = frozenset({"dead", "restarting", "autorestarting"})


class NotebookError(Exception):
    """A notebook does not run: the text says where and why, as the end of a sentence."""


@dataclass(frozen=True, slots=True)
class Ran:
    """A notebook that ran: its kernel goes on, as it does behind an attendee's tab."""

    path: str
    kernel: str
    cells: int


class Jupyter:
    """One server.

    Args:
        http: sends the token with each request, and keeps no cookies.
        url: the server's, ending with a slash; ``api/`` is below it.
    """

    def __init__(self, http: aiohttp.ClientSession, url: str) -> None:
        self._http = http
        self._url = url

    async def notebooks(self) -> tuple[list[str], list[str]]:
        """Paths of all notebooks, in order, and of those among them that cannot be written to. Directories that cannot
        be read are passed over. Raises aiohttp.ClientError.
        """
        found: dict[str, bool] = {}
        pending = [""]
        while pending and len(found) < NOTEBOOKS_MAX:
            path = pending.pop(0)
            try:
                here = await self._get(f"api/contents/{quote(path)}", type="directory", content="1")
            except aiohttp.ClientResponseError:
                if not path:
                    raise
                continue
            for entry in here.get("content") or ():
                path = str(entry["path"])
                if entry["type"] == "notebook":
                    found[path] = bool(entry.get("writable", True))
                elif entry["type"] == "directory" and path.count("/") < DEPTH_MAX:
                    pending.append(path)
        paths = sorted(found)[:NOTEBOOKS_MAX]
        return paths, [path for path in paths if not found[path]]

    async def save(self, name: str) -> str:
        """Save a small file where the server starts: how that was refused, or an empty text.

        Raises aiohttp.ClientError.
        """
        body = {"type": "file", "format": "text", "content": "saved by mux image check\n"}
        async with self._http.put(f"{self._url}api/contents/{quote(name)}", json=body) as answer:
            if answer.status < 400:
                return ""
            said = await answer.json() if answer.content_type == "application/json" else {}
            return f"{answer.status} {str(said.get('message') or '')[:ERROR_CHARS_MAX]}".strip()

    async def run(self, path: str, *, cell_max_s: float) -> Ran:
        """Run a notebook from top to bottom, in a kernel that goes on afterwards.

        Args:
            path: of the notebook.
            cell_max_s: bound of one cell.

        Raises:
            NotebookError: a cell fails, takes too long, or the kernel dies.
            aiohttp.ClientError: the server is gone.
        """
        notebook = (await self._get(f"api/contents/{quote(path)}", type="notebook", content="1"))["content"]
        wanted = (notebook.get("metadata") or {}).get("kernelspec") or {}
        body = {"path": path, "name": path, "type": "notebook", "kernel": {"name": wanted.get("name", "")}}
        async with self._http.post(f"{self._url}api/sessions", json=body) as answer:
            if answer.status >= 400:
                raise NotebookError(f"the kernel {wanted.get('name', '')!r} cannot be started ({answer.status})")
            kernel = str((await answer.json())["kernel"]["id"])
        cells = [cell for cell in notebook.get("cells") or () if cell.get("cell_type") == "code"]
        ran = 0
        async with self.channels(kernel) as channels:
            for number, cell in enumerate(cells, 1):
                source = cell.get("source", "")
                code = "".join(source) if isinstance(source, list) else str(source)
                tags = (cell.get("metadata") or {}).get("tags") or ()
                if not code.strip() or "skip-execution" in tags:
                    continue
                try:
                    async with asyncio.timeout(cell_max_s):
                        error = await channels.execute(code)
                except TimeoutError:
                    raise NotebookError(f"code cell {number} takes longer than {cell_max_s:g} s") from None
                except EOFError as gone:
                    raise NotebookError(f"in code cell {number} {gone}") from None
                if error and "raises-exception" not in tags:
                    raise NotebookError(f"code cell {number} fails: {error}")
                ran += 1
        return Ran(path, kernel, ran)

    async def new_kernel(self) -> str:
        """The id of a new kernel of the server's default kind. Raises aiohttp.ClientError."""
        async with self._http.post(f"{self._url}api/kernels", json={}) as answer:
            answer.raise_for_status()
            return str((await answer.json())["id"])

    async def silent(self, kernel: str, silence_s: float) -> str:
        """Keep a WebSocket open without a word, then use it: how it failed, or an empty text.

        Args:
            kernel: its id; it has nothing to do.
            silence_s: for how long.
        """
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            async with self.channels(kernel) as channels:
                try:
                    async with asyncio.timeout(silence_s):
                        await channels.drain()
                except TimeoutError:
                    async with asyncio.timeout(REPLY_MAX_S):
                        await channels.ask("kernel_info_request", {})
        except TimeoutError:
            return f"it is open after {silence_s:g} s of silence, but nothing answers any more"
        except (EOFError, aiohttp.ClientError, OSError):
            return f"it was closed after {loop.time() - began:.0f} s of silence"
        return ""

    @asynccontextmanager
    async def channels(self, kernel: str) -> AsyncIterator[Channels]:
        """A kernel's channels over one WebSocket. Raises aiohttp.ClientError."""
        url = f"{self._url}api/kernels/{quote(kernel)}/channels"
        async with self._http.ws_connect(url, max_msg_size=MESSAGE_BYTES_MAX, timeout=_CLOSING) as socket:
            yield Channels(socket)

    async def _get(self, path: str, **query: str) -> Any:
        async with self._http.get(f"{self._url}{path}", params=query) as answer:
            answer.raise_for_status()
            return await answer.json()


_CLOSING = aiohttp.ClientWSTimeout(ws_close=5.0)


class Channels:
    """Messages to and from one kernel."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._session = uuid.uuid4().hex

    async def execute(self, code: str) -> str:
        """Run code: how it failed in one line, or an empty text. Raises EOFError when kernel or socket are gone."""
        reply = await self.ask(
            "execute_request",
            {"code": code, "silent": False, "store_history": True, "user_expressions": {}, "allow_stdin": False,
             "stop_on_error": True},
        )  # fmt: skip
        if reply.get("status") == "ok":
            return ""
        return f"{reply.get('ename', 'aborted')}: {reply.get('evalue', '')}".strip(": ")[:ERROR_CHARS_MAX]

    async def ask(self, kind: str, content: dict[str, Any]) -> dict[str, Any]:
        """One request; the content of its reply, once the kernel is idle again. Raises EOFError."""
        identity = uuid.uuid4().hex
        header = {"msg_id": identity, "msg_type": kind, "username": "mux", "session": self._session, "version": "5.3"}
        await self._socket.send_str(
            json.dumps({"channel": "shell", "header": header, "parent_header": {}, "metadata": {}, "content": content})
        )
        reply: dict[str, Any] | None = None
        idle = False
        while reply is None or not idle:
            message = await self._next()
            if (message.get("parent_header") or {}).get("msg_id") != identity:
                continue
            if message.get("channel") == "shell":
                reply = message.get("content") or {}
            elif message["header"]["msg_type"] == "status":
                idle = message["content"]["execution_state"] == "idle"
        return reply

    async def drain(self) -> None:
        """Take what comes, until cancelled. Raises EOFError."""
        while True:
            await self._next()

    async def _next(self) -> dict[str, Any]:
        while True:
            message = await self._socket.receive()
            if message.type is aiohttp.WSMsgType.TEXT:
                parsed: dict[str, Any] = json.loads(message.data)
                if parsed["header"]["msg_type"] == "status" and parsed["content"].get("execution_state") in _DEAD:
                    raise EOFError("the kernel died, perhaps for want of memory")
                return parsed
            if message.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.CLOSING):
                raise EOFError("the kernel's WebSocket was closed")
            if message.type is aiohttp.WSMsgType.ERROR:
                raise EOFError("the kernel's WebSocket broke")
