"""Docker engines in network namespaces, as each machine has one of its own, and the image that workspaces run in them.

Rules: each has its directories, its containerd and its rules of the packet filter, in its namespace; nothing of it is
left when it is closed. The image is made once, in the tests' engine, and given to them: it is the same by its id.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.docker_engine import CONTAINERD, ROOT, Engine, end, unmount_below
from tests.ship_agent.runtimes.docker_image import BASE, HOME, have_base

IMAGE = "mux-test-cut"
COMMAND = ["python3", "-I", "-S", "-u", "{home}/server.py", "{port}", "{base_path}"]
DOCKERFILE = f"""\
FROM {BASE}
COPY --chown=1000:100 server.py {HOME}/
ENV HOME={HOME} PATH=/usr/local/bin:/usr/bin:/bin HOST=0.0.0.0
WORKDIR {HOME}
ENTRYPOINT ["start.sh"]
USER jovyan
"""


def save_image(engine: Engine, server: str, archive: Path) -> None:
    """Make the image in an engine, and save it as a file.

    Args:
        engine: the tests' own.
        server: the program that workspaces run.
        archive: the file to be.
    """
    have_base(engine.host)
    with tempfile.TemporaryDirectory() as context:
        Path(context, "Dockerfile").write_text(DOCKERFILE, encoding="utf-8")
        Path(context, "server.py").write_text(server, encoding="utf-8")
        engine.run_docker("build", "--quiet", "--tag", IMAGE, context)
    engine.run_docker("save", "--output", str(archive), IMAGE)


@contextlib.contextmanager
def engine_within(within: Sequence[str], archive: Path) -> Iterator[Engine]:
    """A Docker engine in a network namespace, with the image in it.

    Args:
        within: what stands before a command that is to run in the namespace.
        archive: of `save_image`.
    """
    cache = ROOT / ".cache"
    cache.mkdir(exist_ok=True)
    # Short, since Unix sockets are in it; the images where overlays can be mounted.
    run = Path(tempfile.mkdtemp(prefix="mux-cut-", dir="/run"))
    data = Path(tempfile.mkdtemp(prefix="docker-cut-", dir=cache))
    (run / "containerd.toml").write_text(CONTAINERD.format(root=data / "containerd", state=run / "containerd", run=run))
    (run / "daemon.json").write_text(json.dumps(_configuration(run, data)))
    engine = Engine(run / "docker.sock", run)
    try:
        with (
            _running(run, *within, "containerd", "--config", str(run / "containerd.toml")),
            _running(run, *within, "dockerd", "--config-file", str(run / "daemon.json")),
        ):
            try:
                engine.wait_ready()
                engine.run_docker("load", "--quiet", "--input", str(archive))
                yield engine
            except BaseException:
                print((run / "dockerd.log").read_text(errors="replace")[-2000:])  # noqa: T201 - it is in the report
                raise
    finally:
        unmount_below(run, data)
        shutil.rmtree(run, ignore_errors=True)
        shutil.rmtree(data, ignore_errors=True)


def _configuration(run: Path, data: Path) -> dict[str, object]:
    return {
        "hosts": [f"unix://{run / 'docker.sock'}"],
        "data-root": str(data / "docker"),
        "exec-root": str(run / "exec"),
        "pidfile": str(run / "docker.pid"),
        "containerd": str(run / "containerd.sock"),
        # Containers end with it.
        "live-restore": False,
        "shutdown-timeout": 5,
        "log-level": "warn",
    }


@contextlib.contextmanager
def _running(run: Path, *words: str) -> Iterator[None]:
    name = next(word for word in words if word in ("containerd", "dockerd"))
    with (run / f"{name}.log").open("ab") as output:
        process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    try:
        yield
    finally:
        end(process)
