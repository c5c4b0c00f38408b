"""Which hook a start is at, in the words of both runtimes."""

from __future__ import annotations

from ship_agent.runtimes.hooks import hook_at


def test_a_shim_says_which_hook_it_has_begun_last() -> None:
    log = "[mux] hook 10-a.sh\nfine\n[mux] hook 20-b\nwaiting"
    assert hook_at("process", log) == "20-b"
    assert hook_at("process", f"{log}\n[mux] start\nserving") == ""
    assert hook_at("process", "waiting") == ""
    assert hook_at("process", "[mux] hook 20-b\x1b[2J") == "20-b[2J", "it is shown to people"


def test_an_image_says_which_hook_it_runs() -> None:
    log = "/usr/local/bin/start.sh: running /usr/local/bin/start-notebook.d/20-b\nwaiting"
    assert hook_at("docker", log) == "20-b"
    assert hook_at("docker", f"{log}\nExecuting the command: jupyter lab") == ""
