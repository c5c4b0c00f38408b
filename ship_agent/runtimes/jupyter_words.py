"""How an image starts its Jupyter, by its own words: what to keep of them, and what the mux says instead.

Pure: from the ``ENTRYPOINT`` or ``CMD`` of an image to the words that Jupyter's arguments follow. Images say it in many
ways: ``start-notebook.sh`` (docker-stacks), ``jupyter notebook --ip 0.0.0.0`` (repo2docker), a line for the shell.

Rules: arguments that decide what the mux decides (address, base path, token, …) are left out, since Jupyter takes no
argument twice (traitlets, "only accepts one value"); all others stay. Text for a shell stays text for a shell: what it
does before Jupyter, such as activating an environment, is done.
"""

from __future__ import annotations

import itertools
import posixpath
import re
import shlex
from collections.abc import Iterator, Sequence

SUBCOMMANDS = ("lab", "notebook", "server", "nbclassic")
MODULES = ("jupyterlab", "notebook", "jupyter_server", "nbclassic")
HUB_PROGRAMS = frozenset({"jupyterhub-singleuser", "jupyter-labhub"})
"""What images for a JupyterHub start: it does not run without one, so JupyterLab stands in for it."""
START_SCRIPTS = frozenset({"start-notebook", "start-singleuser"})
"""Docker-stacks'; the second is for a JupyterHub, and lies beside the first."""
DECIDED = frozenset(
    {"ip", "port", "port_retries", "base_url", "custom_display_url", "sock", "allow_remote_access"}
    | {"token", "password", "password_required", "hashed_password", "certfile", "keyfile", "client_ca"}
    | {"quit_button", "shutdown_no_activity_timeout", "news_url", "check_for_updates_class", "extension_manager"}
)
"""Settings that are the mux's, by the last part of their names."""
DECIDED_FLAGS = frozenset({"open_browser", "no_browser", "allow_root", "y", "autoreload"})
"""The same, of those that have no value behind them."""
_SHELLS = frozenset({"sh", "bash", "ash", "dash", "zsh"})
_IDLE = _SHELLS | {"ipython", "ipython3", "julia", "python", "python3", "R"}
"""What base images start: they leave the start to others, as for Binder."""
_WAITING = frozenset({"sleep", "tail"})
"""What images start that somebody else is to work in."""
INITS = frozenset({"tini", "dumb-init", "docker-init", "s6-svscan", "init"})
_PASSING_ON = frozenset({"start.sh", "/usr/local/bin/start.sh", "/usr/local/bin/repo2docker-entrypoint"})
"""Entry points, of docker-stacks and repo2docker, that carry out what they are given, and no more."""
_SUBCOMMAND = "|".join(SUBCOMMANDS)
_IN_TEXT = re.compile(
    rf"(?<![\w./-])(?P<program>(?:[\w./-]*/)?"
    rf"(?:jupyter[ -](?:{_SUBCOMMAND}|labhub)|start-(?:notebook|singleuser)(?:\.\w+)?|jupyterhub-singleuser))"
    r"(?=\s|[;&|]|$)(?!\s+[a-z])"
)
"""Such a call within a line; one that a word follows (``jupyter lab build``) starts no server."""
_CALL_ENDS = re.compile(r"[;&|\n]|\s\d*[<>]")
_PUNCTUATION = "();<>|&{}"
_CLOSED_BY = {"(": ")", "{": "}", "if": "fi", "do": "done", "case": "esac"}
"""What a shell opens and closes: a line that ends in between is none (POSIX, "Shell Grammar")."""
_COMMANDS = re.compile(r"\$\([^()]*\)|`[^`]*`")
"""What a shell puts the output of in its place, such as ``$(hostname -i)``: part of a word, whatever is in it."""
_MASK = re.compile(r"\0(\d+)\0")


def jupyter_words(words: Sequence[str]) -> tuple[str, ...] | None:
    """The words that Jupyter's arguments follow; None if these start no Jupyter that is known.

    Args:
        words: of an image's command or entry point.
    """
    if (text := shell_text(words)) is not None and "\0" not in text:
        return _of_text(words, text)
    for index in range(len(words)):
        if taken := _program_words(words[index:]):
            program = _stand_in(tuple(words[index : index + taken]))
            return (*words[:index], *program, *_kept(words[index + taken :]))
    return None


def is_idle(entrypoint: Sequence[str], command: Sequence[str]) -> bool:
    """Whether an image starts no server: a bare shell or interpreter, something that waits, an init alone, nothing.

    Args:
        entrypoint: the image's.
        command: the image's.
    """
    if (text := shell_text(command)) is not None and not set(text) & set(_PUNCTUATION):
        command = text.removeprefix("exec ").split()
    if command:
        name, arguments = posixpath.basename(command[0]), command[1:]
        return name in _WAITING or (name in _IDLE and all(each in ("-l", "-i", "--login") for each in arguments))
    words = list(entrypoint)
    if words and posixpath.basename(words[0]) in INITS:
        words = [word for word in words[1:] if not word.startswith("-")]
    return not words or (len(words) == 1 and words[0] in _PASSING_ON)


def shell_text(words: Sequence[str]) -> str | None:
    """The text that a shell is given (``CMD text``, or ``["bash", "-lc", "text"]``); None if it is no such command."""
    if len(words) >= 3 and posixpath.basename(words[0]) in _SHELLS:
        *options, text = words[1:3] if len(words) == 3 else words[1:]
        if options and all(option.startswith("-") for option in options) and options[-1].endswith("c"):
            return text
    return None


def _program_words(words: Sequence[str]) -> int:
    """How many of the first words call Jupyter; 0 if they do not."""
    name, following = posixpath.basename(words[0]), tuple(words[1:3])
    if name.partition(".")[0] in START_SCRIPTS or name in HUB_PROGRAMS | {f"jupyter-{each}" for each in SUBCOMMANDS}:
        return 1
    if name == "jupyter" and following and following[0] in (*SUBCOMMANDS, "labhub"):
        return 2
    if name == "-m" and following and following[0] in MODULES:
        return 2
    return 3 if name == "-m" and following[:1] == ("jupyter",) and following[-1] in SUBCOMMANDS else 0


def _stand_in(program: tuple[str, ...]) -> tuple[str, ...]:
    """What is started in a program's place: what needs a JupyterHub cannot be."""
    directory, name = posixpath.split(program[0])
    if name in HUB_PROGRAMS or program[1:] == ("labhub",):
        return (posixpath.join(directory, "jupyter"), "lab")
    if name.startswith("start-singleuser"):
        return (posixpath.join(directory, name.replace("singleuser", "notebook")),)
    return program


def _of_text(words: Sequence[str], text: str) -> tuple[str, ...] | None:
    calls = list(_IN_TEXT.finditer(text))
    if not calls:
        return None
    call = calls[-1]
    if _left_open(text[: call.start()]):
        return _of_one_shell(text)
    commands = _COMMANDS.findall(text, call.end())
    numbers = itertools.count()
    rest = _COMMANDS.sub(lambda _: f"\0{next(numbers)}\0", text[call.end() :])
    if ends := _CALL_ENDS.search(rest):
        rest = rest[: ends.start()]
    try:
        kept = _kept(shlex.split(rest))
    except ValueError:
        kept = ()
    # A shell passes on what follows its text, the first as its own name.
    program = " ".join(_stand_in(tuple(call["program"].split())))
    line = " ".join([program, *map(_quoted, kept), '"$@"'])
    line = _MASK.sub(lambda found: commands[int(found[1])], line)
    return (*words[: list(words).index(text)], text[: call.start()] + line, posixpath.basename(words[0]))


def _left_open(text: str) -> bool:
    """Whether a text for a shell ends within quotes, brackets or a compound command."""
    reader = shlex.shlex(text, posix=True, punctuation_chars=_PUNCTUATION)
    reader.commenters = ""
    try:
        words = list(reader)
    except ValueError:
        return True
    parts = [part for word in words for part in (word if not word.strip(_PUNCTUATION) else (word,))]
    return any(parts.count(opening) > parts.count(closing) for opening, closing in _CLOSED_BY.items())


def _of_one_shell(text: str) -> tuple[str, ...] | None:
    """As ``jupyter_words``, of a text that does no more than start another shell: ``bash -lc "jupyter lab"``."""
    try:
        words = shlex.split(text)
    except ValueError:
        return None
    words = words[1:] if words[:1] == ["exec"] else words
    inner = shell_text(words)
    return None if inner is None else _of_text(words, inner)


def _quoted(word: str) -> str:
    """A word for a shell, which is to fill in variables and output as it would have."""
    return '"{}"'.format(word.replace('"', '\\"')) if "$" in word or "\0" in word else shlex.quote(word)


def _kept(arguments: Sequence[str]) -> tuple[str, ...]:
    return tuple(_undecided(list(arguments)))


def _undecided(arguments: list[str]) -> Iterator[str]:
    while arguments:
        argument = arguments.pop(0)
        name, equals, _ = argument.partition("=")
        setting = name.lstrip("-").rpartition(".")[2].replace("-", "_")
        if not argument.startswith("-") or setting not in DECIDED | DECIDED_FLAGS:
            if '"$@"' not in argument and argument not in ("$@", "$*"):
                yield argument
        elif not equals and (setting in DECIDED or "." in argument) and arguments and arguments[0][:1] != "-":
            del arguments[0]
