"""A tiny image for tests: a web server that answers health checks and does, on request, what tests need done to it."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

from ship_agent.protocol.digest import tree_digest
from ship_agent.protocol.messages import Project
from ship_agent.runtimes.tree import walk

EDITOR = """
import os, signal, sys, time

name, ignored = sys.argv[1:]
asked = []


def save(number, frame):
    asked.append(number)
    if len(asked) == 1:
        time.sleep(0.2)
        if len(asked) == 1:  # as vim does, it gives up when it is asked again in the middle of it
            with open(name, "w") as file:
                file.write(signal.Signals(number).name)
    os._exit(0)


for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
    signal.signal(number, signal.SIG_IGN if signal.Signals(number).name == ignored else save)
with open(name, "w") as file:
    file.write("open")
while True:
    signal.pause()
"""
SERVER = """
import json, os, signal, socket, subprocess, sys, threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

port, base = int(sys.argv[1]), sys.argv[2]


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        what = url.path.removeprefix(base)
        if self.headers.get("Authorization") != "token " + os.environ["MUX_TOKEN"]:
            return self.answer(403, None)
        if what == "api":
            return self.answer(503 if os.path.exists("sick") else 200, {"pid": os.getpid()})
        if what == "environment":
            return self.answer(200, dict(os.environ))
        if what == "write":
            with open(query["name"], "w") as file:
                file.write(query["text"])
            return self.answer(200, None)
        if what == "read":
            try:
                with open(query["name"], errors="replace") as file:
                    return self.answer(200, file.read())
            except OSError:
                return self.answer(404, None)
        if what == "detach":
            # A session of its own and a clean environment: what a kernel or a terminal may do, and worse.
            env = json.loads(query.get("env", "null"))
            child = subprocess.Popen(["sleep", "1000"], start_new_session=True, env=env)
            return self.answer(200, child.pid)
        if what == "edit":
            import pty

            words = [query["editor"], query["name"], query.get("ignores", "")]
            child, _ = pty.fork()
            if child == 0:
                os.execv(sys.executable, [sys.executable, "-I", "-S", "-c", *words])
            return self.answer(200, child)
        if what == "forks":
            children = []
            try:
                for _ in range(int(query["n"])):
                    children.append(subprocess.Popen(["sleep", "1000"]))
            except OSError:
                pass
            for child in children:
                child.kill()
                child.wait()
            return self.answer(200, len(children))
        if what == "connect":
            try:
                socket.create_connection((query["host"], int(query["port"])), 1).close()
            except OSError as error:
                return self.answer(200, type(error).__name__)
            return self.answer(200, "connected")
        if what == "listen":
            def greet(listener=socket.create_server((os.environ.get("HOST", "127.0.0.1"), int(query["port"])))):
                while True:
                    listener.accept()[0].sendall(b"here")

            threading.Thread(target=greet, daemon=True).start()
            return self.answer(200, None)
        if what == "scan":
            from concurrent.futures import ThreadPoolExecutor

            def is_open(port):
                try:
                    socket.create_connection((query["host"], port), 1).close()
                except OSError:
                    return False
                return True

            ports = [int(port) for port in query["ports"].split(",")]
            with ThreadPoolExecutor(16) as pool:
                return self.answer(200, [port for port, found in zip(ports, pool.map(is_open, ports)) if found])
        if what == "eat_in_a_child":
            code = subprocess.call([sys.executable, "-c", f"held = b'x' * {query['n']}"])
            return self.answer(200, code)
        if what == "eat":
            return self.answer(200, len(bytearray(int(query["n"]))))
        if what == "who":
            shm = os.statvfs("/dev/shm")
            return self.answer(200, [os.getuid(), os.getgid(), shm.f_blocks * shm.f_frsize])
        if what == "print":
            print(query["text"], flush=True)
            return self.answer(200, None)
        if what == "exit":
            self.answer(200, None)
            os._exit(int(query["code"]))
        self.answer(404, None)

    def answer(self, status, body):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


if os.environ.get("STUBBORN"):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("serving", flush=True)
ThreadingHTTPServer((os.environ.get("HOST", "127.0.0.1"), port), Handler).serve_forever()
"""

COMMAND = [sys.executable, "-I", "-S", "-u", "{home}/server.py", "{port}", "{base_path}"]


def make_image(root: Path, *, hooks: dict[str, str] | None = None, text: str = "as given") -> Path:
    """An image with the server, a file, and hooks (name to script; those that start with ``#!`` are executable)."""
    home = root / "home"
    home.mkdir(parents=True)
    (home / "server.py").write_text(SERVER)
    (home / "notes.txt").write_text(text)
    for name, script in (hooks or {}).items():
        (root / "start-notebook.d").mkdir(exist_ok=True)
        hook = root / "start-notebook.d" / name
        hook.write_text(script)
        hook.chmod(0o755 if script.startswith("#!") else 0o644)
    return root


def digest_of(image: Path) -> str:
    """The image's digest, as the mux would have resolved it."""
    return tree_digest(walk(image))


def project_of(image: Path, **changes: object) -> Project:
    """A project of kind http that runs the server of an image."""
    return project_with({"image": str(image), "digest": digest_of(image), "command": COMMAND, **changes})


def project_with(values: dict[str, object]) -> Project:
    """A project of kind http; image, digest and command must be given."""
    return Project.model_validate(
        {
            "name": "intro",
            "kind": "http",
            "port": 8888,
            "environment": {},
            "memory_bytes": 256 << 20,
            "cpus": 1.0,
            "pids": 64,
            "shm_bytes": 64 << 20,
            "base_path": "/camp/intro/",
            "health_path": "api",
            **values,
        }
    )


def free_port() -> int:
    """A port of 127.0.0.1 that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
