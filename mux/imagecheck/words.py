"""What the checks say: from what was seen of a workspace to findings.

Pure. Each finding is one line with the number, and what to do if it is not well. Owns the limits that images are held
against where neither the event file nor a ship has one.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urljoin

from mux.config.kinds import size_text
from mux.preflight.finding import Finding, failure, ok, shown, warning
from ship_agent.protocol.messages import Project
from ship_agent.protocol.trial import TrialClosed, TrialEnded, TrialStarted

IMAGE_BYTES_SHOULD = 5 << 30
"""A larger image takes more than a minute on a ship with a line of 1 Gbit/s, and more disk than many have."""
START_SHOULD_S = 20.0
"""Whoever starts a project on use waits for it: JupyterLab needs 2 to 10 s."""
HEALTH_SHOULD_S = 0.5
"""Ships ask for the health path every three seconds: an answer that takes longer is a page that is made anew, as
Voilà does with a kernel for each.
"""
MEMORY_TIGHT = 0.8
"""Share of the memory limit above which an attendee who tries something more is killed."""
PATHS_SHOWN = 5
LOGINS = ("login", "signin", "sign-in")
"""How applications call the pages on which they ask who somebody is."""
MIB = 1 << 20

_CHECK_OF = {
    "hook_failed": "hooks",
    "root_refused": "user",
    "oom": "memory",
    "command_missing": "command",
    "image_invalid": "image",
    "image_missing": "image",
}
_REMEDY_OF = {
    "hook_failed": "mend it; its output is in the log below",
    "root_refused": 'or try it with --allow root, and put allow = ["root"] into the event file',
    "command_missing": 'give the image CMD ["jupyter", "lab"], or say --command; what is no Jupyter is of --kind http',
    "oom": "raise --memory, or let it use less",
}


def ended(report: TrialEnded, when: str) -> Finding:
    """It could not be started, or ended by itself."""
    said = report.detail.rstrip(".")
    if when:
        said = f"{when}, it ended: {said}"
    remedy = _REMEDY_OF.get(report.code, "see the log below")
    if report.code == "exited" and "Permission denied" in report.log_tail:
        remedy = "its user may not write where the log below says: COPY --chown=…, or chown in the Dockerfile"
    return failure(_CHECK_OF.get(report.code, "start"), said, remedy)


def image(started: TrialStarted) -> Finding:
    """Its size."""
    size = started.image_bytes
    said = f"{shown(round(size / 1e6, 1))} MB"
    numbers = {"number": float(size), "limit": float(IMAGE_BYTES_SHOULD), "unit": "bytes"}
    if size > IMAGE_BYTES_SHOULD:
        return warning("image", f"{said}, which every ship fetches", "leave out what no notebook needs", **numbers)
    return ok("image", said, **numbers)


def user(started: TrialStarted, project: Project) -> Finding:
    """Whom it runs as."""
    if started.user is None:
        return ok("user", "the agent's own, as every process workspace")
    number = "" if started.uid is None else f" (uid {started.uid})"
    if started.uid == 0 or "root" in project.allow:
        if "root" in project.allow:
            return warning(
                "user", f"starts as root{number}, which --allow root lets it", "give the image a USER if it needs none",
                number=started.uid,
            )  # fmt: skip
        return failure(
            "user", f"{started.user} is root{number}", "give it a USER with another number", number=started.uid
        )
    return ok("user", f"{started.user}{number}", number=started.uid)


def start(took_s: float, limit_s: float, health_path: str, status: int, answer_s: float = 0.0) -> list[Finding]:
    """It answered on its health path.

    Args:
        took_s: how long after its start.
        limit_s: how long a ship waits.
        health_path: what was asked for.
        status: of the answer.
        answer_s: how long another answer took.
    """
    numbers = {"number": round(took_s, 2), "limit": limit_s, "unit": "s"}
    said = f"healthy after {took_s:.1f} s; a ship waits {limit_s:g} s"
    slow = warning("start", said, "do in the Dockerfile what its hooks do at each start", **numbers)
    healthy = ok("health path", f"{health_path} answers {status}", number=status)
    if answer_s > HEALTH_SHOULD_S:
        healthy = warning(
            "health path", f"{health_path} takes {answer_s:.1f} s to answer, and a ship asks every 3 s",
            "name something cheaper with --health-path, such as a static file, and as health_path in the event file",
            number=round(answer_s, 2), limit=HEALTH_SHOULD_S, unit="s",
        )  # fmt: skip
    return [
        ok("hooks", "none has failed"),
        healthy,
        slow if took_s > START_SHOULD_S else ok("start", said, **numbers),
    ]


def never_healthy(
    limit_s: float,
    health_path: str,
    status: int | None,
    closed: TrialClosed | None,
    port: int,
    *,
    kind: str,
    may_insist: bool = True,
) -> Finding:
    """It did not answer in time.

    Args:
        limit_s: how long that was, in seconds.
        health_path: what was asked for.
        status: of the last answer; None if there was none.
        closed: what was seen of it.
        port: where it was to listen.
        kind: of its project.
        may_insist: the event file may name another port.
    """
    hook = closed.hook if closed else ""
    if hook:
        return failure(
            "hooks", f"{hook} has not ended after {limit_s:g} s", "let it do less, or give up by itself",
            number=limit_s, limit=limit_s, unit="s",
        )  # fmt: skip
    if status is None:
        said, remedy = _unanswered(closed.listening if closed else [], port, kind, may_insist=may_insist)
    else:
        said, remedy = _answered(status)
    return failure(
        "health path", f"{health_path}: {said} after {limit_s:g} s", remedy, number=limit_s, limit=limit_s, unit="s"
    )


def _answered(status: int) -> tuple[str, str]:
    remedy = (
        "let the server answer below MUX_BASE_PATH; an entry point or script that starts it must pass on the arguments "
        'that it is given ("$@")'
    )
    return f"the answer is {status}", remedy


def _unanswered(listening: list[str], port: int, kind: str, *, may_insist: bool) -> tuple[str, str]:
    reached = {place.rpartition(":")[2] for place in listening if not _is_loopback(place)}
    here = [place for place in listening if place.rpartition(":")[2] == str(port)]
    named = ", ".join((here or listening)[:PATHS_SHOWN])
    passed_on = handed_over = (
        '; an entry point or script that starts the server must pass on the arguments that it is given ("$@")'
    )
    if kind == "http":  # it is given no arguments
        passed_on, handed_over = "", ", or hand it over in --command, as {port}"
    if not listening:
        return "nothing answers", "let it listen on MUX_PORT, on every address; see the log below"
    if not here:
        insists = ""
        if reached and may_insist:
            other = min(reached, key=int)
            insists = f'; or try it with --project-port {other}, and put "port = {other}" into the event file'
        remedy = f"let it listen on MUX_PORT{handed_over}{insists}"
        return f"nothing listens on port {port}, but on {named}", remedy
    if all(map(_is_loopback, here)):
        return f"it listens on {named} alone, out of reach", f"let it listen on every address, 0.0.0.0{passed_on}"
    return f"no HTTP answer comes from {named}", "let it speak plain HTTP: the mux ends TLS; see the log below"


def _is_loopback(place: str) -> bool:
    return place.startswith(("127.", "[::1]"))


def base_path(path: str, status: int | None, location: str) -> Finding:
    """What the base path answered, redirects not followed."""
    if status is None:
        return failure("base path", f"{path} does not answer", "let the server answer below MUX_BASE_PATH")
    if status >= 400:
        return failure(
            "base path", f"{path} answers {status}", "let the server answer below MUX_BASE_PATH", number=status
        )
    if location and not urljoin(path, location).startswith(path):
        return warning(
            "base path", f"{path} leads to {location[:200]}", "let it lead below the base path: nothing else is the "
            "project's", number=status,
        )  # fmt: skip
    return ok("base path", f"{path} answers {status}", number=status)


def token(status: int | None, path: str, with_it: int | None, *, kind: str = "jupyter", leads: str = "") -> Finding:
    """What was answered without the token, and with it.

    Args:
        status: of an answer without it.
        path: what was asked for.
        with_it: status of an answer with it.
        kind: of the project; one of `http` need not know the token.
        leads: where the answer with it leads; empty if nowhere.
    """
    asks = any(word in leads.partition("?")[0].removeprefix(path) for word in LOGINS)
    if kind == "http" and (with_it in (401, 403) or asks):
        leading = f" and leads to {leads[:200]}" if leads else ""
        return failure(
            "token", f"{path} is answered with {with_it}{leading}: a login of its own, which nobody can pass",
            "switch that off in its command or its settings: who comes has logged in to the event", number=with_it,
        )  # fmt: skip
    if with_it in (401, 403):
        return failure(
            "token", f"{path} with it is answered with {with_it}",
            "leave token and password out of its command and its settings: JUPYTER_TOKEN is what it must take",
            number=with_it,
        )  # fmt: skip
    if status in (401, 403) or (status is not None and 300 <= status < 400):
        return ok("token", f"{path} without it is answered with {status}", number=status)
    if kind == "http":
        return ok("token", f"{path} asks for none; who comes has logged in, and neighbours are kept out", number=status)
    return warning(
        "token", f"{path} without it is answered with {status}, not refused",
        "let the server demand MUX_TOKEN as `Authorization: token …`, if it can: the network keeps neighbours out, and "
        "this is the second lock",
        number=status,
    )  # fmt: skip


def read_only(notebooks: Sequence[str]) -> Finding:
    """Notebooks that its user may not write to."""
    named = ", ".join(notebooks[:PATHS_SHOWN])
    more = f" and {len(notebooks) - PATHS_SHOWN} more" if len(notebooks) > PATHS_SHOWN else ""
    return warning(
        "notebooks", f"nobody can save {named}{more}: the image's user may not write to it",
        "COPY --chown=… in the Dockerfile, unless that is meant", number=len(notebooks),
    )  # fmt: skip


def saving(refused: str, *, keeps: bool) -> Finding:
    """Whether what Jupyter saves is there after the next start.

    Args:
        refused: why it did not save; empty if it said that it has.
        keeps: it is among the attendee's files.
    """
    if refused:
        return failure(
            "saving", f"Jupyter cannot save where it starts: {refused}",
            "give that directory to the image's user: COPY --chown=…, or chown in the Dockerfile",
        )  # fmt: skip
    if not keeps:
        return failure(
            "saving", "what Jupyter saves lies outside the home, and is gone at the next start",
            "let Jupyter start in its HOME, or have WORKDIR as its directory: look for root_dir or notebook_dir, and "
            "for a start script that changes HOME, user or directory",
        )  # fmt: skip
    return ok("saving", "what Jupyter saves is among the attendee's files")


def log(*, token_in_log: bool) -> Finding:
    """What hooks and server print. Whoever ends a start is told of before."""
    if token_in_log:
        return failure("log", "the workspace's token is in it", "print no variables: organizers see logs")
    return ok("log", "nothing printed the workspace's token")


def writable(started: TrialStarted, closed: TrialClosed, project: Project) -> Finding | None:
    """Where it wrote; None where that cannot be told."""
    if started.read_only_root:
        return ok("writable paths", "it runs with a read-only root: home, /tmp, /var/tmp and /run are enough")
    if closed.changed is None:
        return None
    if closed.changed:
        named = ", ".join(closed.changed[:PATHS_SHOWN])
        more = f" and {len(closed.changed) - PATHS_SHOWN} more" if len(closed.changed) > PATHS_SHOWN else ""
        return warning(
            "writable paths", f"it writes outside its home: {named}{more}",
            'let it write to its home or /tmp; else the project needs a writable root, as it has now',
            number=len(closed.changed),
        )  # fmt: skip
    return warning(
        "writable paths", "it wrote nowhere but in its home, /tmp, /var/tmp and /run",
        f'a read-only root is enough: LABEL mux.read-only=true in the image, or root_filesystem = "read_only" for '
        f"{project.name}", number=0,
    )  # fmt: skip


def memory(started: TrialStarted, closed: TrialClosed, project: Project) -> Finding:
    """The high-water mark against the limit."""
    peak, limit = closed.memory_peak_bytes, project.memory_bytes
    numbers = {"number": float(peak), "limit": float(limit), "unit": "bytes"}
    loose = ", which this machine does not enforce" if "memory" in started.limits_missing else ""
    used = "" if project.kind == "http" else " with every kernel open"
    said = f"at most {peak / MIB:,.0f} MiB{used}, of {size_text(limit)}{loose}"
    if not peak:
        return warning("memory", "it could not be measured", "try once more on another machine")
    if peak > MEMORY_TIGHT * limit:
        return warning("memory", said, "take the limit below, and try again with it: --memory", **numbers)
    return ok("memory", said, **numbers)
