"""What JupyterLab does with files, and nothing else: a workspace that starts in a moment.

Run in a workspace, as its command. Of Jupyter's contents API it has one file at a time as text, written aside and
renamed; of kernels and terminals it says that there are none. A file called ``sick`` makes it answer its health path
with 503.
"""

from __future__ import annotations

import json
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

API = os.environ.get("MUX_BASE_PATH", "/") + "api"
NOBODYS = (f"{API}/kernels", f"{API}/terminals")


class Contents(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """A file, or that the server works."""
        if self.path == API:
            self._answer(503 if (Path.home() / "sick").exists() else 200, {"version": "1"})
        elif self.path in NOBODYS:
            self._answer(200, [])
        elif (file := self._file()).exists():
            self._answer(200, {"content": file.read_text()})
        else:
            self._answer(404, {})

    def do_PUT(self) -> None:
        """Save a file."""
        content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["content"]
        aside = self._file().with_suffix(".aside")
        aside.write_text(content)
        aside.rename(self._file())
        self._answer(200, {})

    def _file(self) -> Path:
        return Path.home() / self.path.partition("?")[0].removeprefix(f"{API}/contents/")

    def _answer(self, status: int, content: object) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing to say."""


class Server(ThreadingHTTPServer):
    """Serves everybody who has waited for the end of a swap, at once."""

    request_queue_size = 1024


if __name__ == "__main__":
    # In a container, the way in is from outside of it.
    address = os.environ.get("HOST", "127.0.0.1"), int(os.environ["MUX_PORT"])
    Server(address, Contents).serve_forever()
