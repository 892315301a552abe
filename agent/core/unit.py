"""The service's unit file, fitted to where the program lies.

The unit that ships starts `/opt/fieldline/bin/fleet-agent` and hides home directories. A program that was installed
elsewhere is started from there; one that lies where the sandbox would hide it (a home, as pipx and uv do by default,
or a directory for temporary files) is bound back in, alone and read-only, so that no more of the home is seen.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

HOMES = ("/home", "/root", "/run/user")  # what ProtectHome hides (systemd.exec(5))
HIDDEN = (*HOMES, "/tmp", "/var/tmp")  # noqa: S108 - what PrivateTmp hides as well; nothing is written there

_EXEC = re.compile(r"^ExecStart=.*$", re.MULTILINE)
_HOME = re.compile(r"^ProtectHome=.*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Program:
    """How the service starts the agent."""

    command: tuple[str, ...]  # the program and what stands before `run`
    trees: tuple[str, ...]  # directories that it is made of: environment, Python, code


def render_unit(template: str, program: Program, state: str, config: str | None) -> str:
    """Return the unit for a program, a state directory and, if there is one, a first config."""
    command = [*program.command, "run", "--state", state, *(["--config", config] if config else [])]
    start = "ExecStart=" + " ".join(_quoted(word) for word in command)
    unit = _EXEC.sub(lambda _: start, template, count=1)
    hidden = hidden_trees(program.trees)
    if not hidden:
        return unit
    lines = [f"BindReadOnlyPaths={_quoted(tree)}" for tree in hidden]
    if any(_is_below(tree, HOMES) for tree in hidden):
        lines.insert(0, "ProtectHome=tmpfs")
        return _HOME.sub(lambda _: "\n".join(lines), unit, count=1)
    return _HOME.sub(lambda found: "\n".join([found[0], *lines]), unit, count=1)


def hidden_trees(trees: Sequence[str]) -> tuple[str, ...]:
    """Return the trees that the sandbox would hide, those inside of another left out."""
    hidden = sorted({tree for tree in trees if _is_below(tree, HIDDEN)})
    return tuple(tree for tree in hidden if not _is_below(tree, [other for other in hidden if other != tree]))


def _is_below(path: str, tops: Sequence[str]) -> bool:
    return any(PurePosixPath(path).is_relative_to(top) for top in tops)


def _quoted(word: str) -> str:
    """Quote a word for a unit file (systemd.syntax(7)): specifiers, variables, spaces."""
    word = word.replace("%", "%%").replace("$", "$$")
    if re.fullmatch(r"[\w@%+=:,./$-]+", word):
        return word
    return '"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"'
