"""Every command has help, options that say what they do, and an example that it understands."""

import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from agent.cli import root as agent
from firmware_sim.cli import cli as simulators
from fleet.cli import main
from fleet.cli.reference import commands, page
from fleet.cli.root import COMMANDS
from fleet.cli.shell import Command

ALL = dict(commands())
WITHOUT_JSON = {"fleet serve", "fleet completion"}  # one runs, one prints a script


@pytest.mark.parametrize("path", ALL)
def test_a_command_and_its_options_have_help(path: str):
    command = ALL[path]

    assert command.help
    assert [one.name for one in command.params if isinstance(one, click.Option) and not one.help] == []


@pytest.mark.parametrize("path", ALL)
def test_a_command_speaks_json(path: str):
    assert path in WITHOUT_JSON or "--json" in [opt for one in ALL[path].params for opt in one.opts]


def test_every_command_has_an_example_of_itself():
    examples = {path: getattr(command, "examples", ()) for path, command in ALL.items()}

    assert [path for path, said in examples.items() if not any(path in one for one in said)] == []


EXAMPLES = [(path, one) for path, command in ALL.items() if isinstance(command, Command) for one in command.examples]


@pytest.mark.parametrize(("path", "example"), EXAMPLES, ids=lambda value: value if " " in value else "")
def test_an_example_is_understood(path: str, example: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    for name in ("freezer.toml", "own.toml"):
        (tmp_path / name).touch()
    words = shlex.split(example.split(" < ", maxsplit=1)[0].removeprefix('eval "$(').removesuffix(')"'))
    depth = len(path.split())

    ctx = ALL[path].make_context(path, words[depth:])

    assert " ".join(words[:depth]) == path
    ctx.close()


def test_the_short_help_in_the_table_is_the_commands_own():
    ctx = click.Context(main)
    own = {name: main.get_command(ctx, name) for name in COMMANDS}

    assert {name: command.get_short_help_str(200) for name, command in own.items() if command} == {
        name: short for name, (_, _, short) in COMMANDS.items()
    }


def groups(group: click.Group, path: str) -> Iterator[tuple[str, click.Group]]:
    yield path, group
    ctx = click.Context(group, info_name=path)
    for name in group.list_commands(ctx):
        command = group.get_command(ctx, name)
        if isinstance(command, click.Group):
            yield from groups(command, f"{path} {name}")


GROUPS = [*groups(main, "fleet"), *groups(agent, "fleet-agent"), *groups(simulators, "firmware-sim")]


@pytest.mark.parametrize(("path", "group"), GROUPS, ids=lambda value: value if isinstance(value, str) else "")
def test_no_commands_short_help_is_cut(path: str, group: click.Group):
    shown = group.get_help(click.Context(group, info_name=path, terminal_width=78))

    assert [line for line in shown.partition("Commands:")[2].splitlines() if line.endswith("...")] == []


def test_help_imports_neither_the_server_nor_what_is_slow():
    probe = (
        "import sys, fleet.cli\n"
        "fleet.cli.main(['--help'], standalone_mode=False)\n"
        "print(sorted({'httpx', 'rich', 'fastapi', 'sqlalchemy', 'uvicorn', 'asyncio'} & set(sys.modules)))"
    )

    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)

    assert done.stdout.splitlines()[-1] == "[]"


def test_a_command_imports_nothing_of_the_server():
    probe = (
        "import sys, fleet.cli.reference as reference\n"
        "from fleet.cli.root import COMMANDS\n"
        "[__import__(module) for name, (module, _, _) in COMMANDS.items() if name != 'serve']\n"
        "slow = {'fastapi', 'sqlalchemy', 'uvicorn', 'nats', 'msgspec', 'rich'}\n"
        "print(sorted(slow & set(sys.modules)))"
    )

    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)

    assert done.stdout.splitlines()[-1] == "[]"


def test_the_reference_names_every_command_with_its_examples():
    shown = page()

    assert [path for path in ALL if f"\n## {path}\n" not in shown] == []
    assert [one for _, one in EXAMPLES if f"\n{one}\n" not in shown] == []
