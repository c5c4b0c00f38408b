"""mux/base keeps the contract of the Jupyter Docker Stacks, under the rules that a ship starts it with."""

from __future__ import annotations

import re
import subprocess
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docker_engine import ROOT, Engine

pytestmark = pytest.mark.timeout(700)

LIKE_A_SHIP = (
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges",
    "--read-only",
    "--tmpfs=/tmp",
    "--tmpfs=/run",
    "--network=none",
    "--init",
)
FOR_ANOTHER_USER = ("--cap-drop=ALL", *(f"--cap-add={name}" for name in ("CHOWN", "DAC_OVERRIDE", "SETGID", "SETUID")))
START_S_MAX = 180.0
TOKEN = "f00d" * 8


@pytest.fixture
def hooks(tmp_path: Path) -> Path:
    """Directories of hooks, mounted into the containers of `run`."""
    for name in ("start-notebook.d", "before-notebook.d"):
        (tmp_path / name).mkdir()
    return tmp_path


def write(hooks: Path, name: str, text: str, *, executable: bool = False) -> None:
    (hooks / name).write_text(text, encoding="utf-8")
    (hooks / name).chmod(0o755 if executable else 0o644)


def run(engine: Engine, *words: str, hooks: Path | None = None) -> subprocess.CompletedProcess[str]:
    """One container to its end."""
    mounts = [f"--volume={path}:/usr/local/bin/{path.name}:ro" for path in hooks.iterdir()] if hooks else []
    command = ["docker", "--host", engine.host, "run", "--rm", *mounts, *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=START_S_MAX, check=False)


@pytest.fixture(scope="module")
def server(built: Engine) -> Iterator[str]:
    """The id of a container as a ship starts it, its server answering."""
    container = built.run_docker(
        "run", "--detach", *LIKE_A_SHIP, "--tmpfs=/home/jovyan:uid=1000,gid=100,mode=755",
        "--env", f"JUPYTER_TOKEN={TOKEN}", "--env", "MUX_BASE_PATH=/camp/intro/", "mux/base",
    )  # fmt: skip
    try:
        deadline = time.monotonic() + START_S_MAX
        while run_in(built, container, "jupyter-answers").returncode != 0:
            assert time.monotonic() < deadline, built.run_docker("logs", container)
            time.sleep(0.2)
        yield container
    finally:
        built.run_docker("rm", "--force", container)


def run_in(engine: Engine, container: str, *words: str) -> subprocess.CompletedProcess[str]:
    command = ["docker", "--host", engine.host, "exec", container, *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=START_S_MAX, check=False)


ASK = """\
import sys, urllib.error, urllib.request
token = {"Authorization": "token " + sys.argv[2]} if sys.argv[2:] else {}
try:
    print(urllib.request.urlopen(urllib.request.Request("http://127.0.0.1:8888" + sys.argv[1], headers=token)).status)
except urllib.error.HTTPError as error:
    print(error.code)
"""


def test_it_serves_as_a_user_without_capabilities_on_a_read_only_root(built: Engine, server: str) -> None:
    def ask(path: str, *token: str) -> str:
        return run_in(built, server, "python", "-c", ASK, path, *token).stdout.strip()

    assert ask("/camp/intro/api") == "200"
    assert ask("/camp/intro/api/contents", TOKEN) == "200"
    assert ask("/camp/intro/api/contents") == "403"
    assert ask("/api") == "404"
    assert run_in(built, server, "id", "-u", "-n").stdout.strip() == "jovyan"
    status = run_in(built, server, "cat", "/proc/self/status").stdout
    assert re.search(r"CapEff:\s+0{16}\n", status)
    assert re.search(r"NoNewPrivs:\s+1\n", status)
    assert run_in(built, server, "touch", "/opt/jupyter/here").returncode != 0


def test_a_token_is_in_no_command_line(built: Engine, server: str) -> None:
    lines = run_in(built, server, "bash", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '").stdout
    assert "jupyter" in lines
    assert TOKEN not in lines


def test_arguments_reach_the_server_by_the_command_line_and_by_variable(built: Engine) -> None:
    version = re.search(r"^jupyter-server==(\S+)", requirements(), re.MULTILINE)
    assert version is not None
    for words in (("mux/base", "start-notebook.sh", "--version"), ("--env=NOTEBOOK_ARGS=--version", "mux/base")):
        done = run(built, *LIKE_A_SHIP, "--env=DOCKER_STACKS_JUPYTER_CMD=server", *words)
        assert done.stdout.splitlines()[-1] == version[1], done.stderr


def test_hooks_run_in_order_and_what_they_export_reaches_the_command(built: Engine, hooks: Path) -> None:
    write(hooks, "start-notebook.d/10-first.sh", "export ORDER=first\n")
    write(hooks, "start-notebook.d/20-second.sh", "set -eu\nexport ORDER=$ORDER,second\n")
    write(hooks, "start-notebook.d/30-program", "#!/bin/bash\necho program: $ORDER\n", executable=True)
    write(hooks, "start-notebook.d/README", "no hook\n")
    write(hooks, "before-notebook.d/10-last.sh", "export ORDER=$ORDER,last$UNSET\n")
    done = run(built, *LIKE_A_SHIP, "mux/base", "bash", "-c", "echo command: $ORDER", hooks=hooks)
    assert (done.returncode, done.stderr) == (0, "")
    assert "program: first,second\n" in done.stdout
    assert done.stdout.splitlines()[-1] == "command: first,second,last"


@pytest.mark.parametrize(
    ("name", "text", "code"),
    [
        ("start-notebook.d/10-returns.sh", "return 3\n", 3),
        ("start-notebook.d/10-exits.sh", "exit 4\n", 4),
        ("start-notebook.d/10-strict.sh", "set -e\nfalse\n", 1),
        ("before-notebook.d/10-program", "#!/bin/bash\nexit 5\n", 5),
        ("before-notebook.d/10-leaves.sh", "exit 0\n", 1),
    ],
)
def test_a_failing_hook_ends_the_start_and_the_last_line_says_which(
    built: Engine, hooks: Path, name: str, text: str, code: int
) -> None:
    write(hooks, name, text, executable=not name.endswith(".sh"))
    done = run(built, *LIKE_A_SHIP, "mux/base", "echo", "the command", hooks=hooks)
    assert done.returncode == code
    assert re.fullmatch(
        rf"start\.sh: the hook /usr/local/bin/{name} ended with exit code \d; the server is not started",
        done.stderr.splitlines()[-1],
    )
    assert "the command" not in done.stdout


def test_as_root_it_becomes_who_it_is_told_to_be(built: Engine) -> None:
    done = run(
        built, *FOR_ANOTHER_USER, "--user=0", "--env=NB_USER=ada", "--env=NB_UID=1234", "--env=NB_GID=2345",
        "--env=CHOWN_HOME=yes", "mux/base",
        "bash", "-c", "id -un; id -u; id -g; echo $HOME; stat -Lc %u:%g $HOME/.bashrc; grep CapEff /proc/self/status",
    )  # fmt: skip
    lines = done.stdout.splitlines()[-6:]
    assert lines == ["ada", "1234", "2345", "/home/ada", "1234:2345", "CapEff:\t0000000000000000"], done.stderr


def test_nothing_of_this_machines_registries_is_in_the_image(built: Engine) -> None:
    history = built.run_docker("history", "--no-trunc", "--format", "{{.CreatedBy}}", "mux/base")
    assert "pip install" not in history
    assert "://" not in history
    done = run(
        built, "--network=none", "mux/base", "bash", "-c", "pip config list; ls /build /etc/pip.conf 2>/dev/null"
    )
    assert done.stdout.splitlines()[1:] == [], done.stdout


def test_the_examples_bring_their_files_and_hooks(built: Engine) -> None:
    for example in ("example", "example-stats"):
        done = run(built, *LIKE_A_SHIP, f"mux/{example}", "bash", "-c", "find . -type f -user jovyan")
        assert done.returncode == 0, done.stderr
        assert "10-check-data: /home/jovyan/data" in done.stdout
        home = ROOT / "images" / example / "home"
        files = {f"./{path.relative_to(home)}" for path in home.rglob("*") if path.is_file()}
        assert files <= set(done.stdout.splitlines())


def requirements() -> str:
    return (ROOT / "images" / "base" / "requirements.txt").read_text(encoding="utf-8")


def test_the_images_packages_are_the_locked_ones() -> None:
    locked = {
        (package["name"], package["version"]): {wheel["hash"] for wheel in package.get("wheels", ())}
        for package in tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))["package"]
    }
    pinned = re.findall(r"^([a-z0-9-]+)==(\S+) \\\n((?: +--hash=\S+(?: \\)?\n)+)", requirements(), re.MULTILINE)
    assert len(pinned) > 50
    for name, version, hashes in pinned:
        known = locked.get((name, version))
        assert known is not None, f"{name} {version} is not in uv.lock: make lock-images"
        assert known & set(re.findall(r"--hash=(\S+?)(?: |\n)", hashes)), f"{name}: make lock-images"
