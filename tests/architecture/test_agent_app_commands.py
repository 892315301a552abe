"""Every command of the agent has help, options that say what they do, and an example in the reference."""

import re
from dataclasses import fields
from pathlib import Path

import click
import pytest

from agent.cli import COMMANDS, root
from agent.core.answers import AlarmNow, Alarms, BufferReport, LaneDepth, Latest, LogTail, ReadingAnswer, Readings
from agent.core.status import BufferStatus, ClockStatus, SourceStatus, Status, SyncStatus

ROOT = Path(__file__).parents[2]
REFERENCE = (ROOT / "docs" / "reference" / "agent-cli.md").read_text()
SOCKET = (ROOT / "docs" / "reference" / "agent-socket.md").read_text()


def command(name: str) -> click.Command:
    found = root.get_command(click.Context(root), name)
    assert found is not None
    return found


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_and_its_options_have_help_and_an_example(name: str):
    it = command(name)

    assert it.help
    assert f"fleet-agent {name}" in it.help
    assert [one.name for one in it.params if isinstance(one, click.Option) and not one.help] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_examples_are_shown_line_by_line(name: str):
    it = command(name)
    context = click.Context(it)
    parts = [it, *(it.commands.values() if isinstance(it, click.Group) else ())]

    assert [part.name for part in parts if "\\b" in part.get_help(context)] == []
    assert [
        part.name for part in parts if not re.search("^ +(sudo )?fleet", part.get_help(context), re.MULTILINE)
    ] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_and_its_own_options_are_in_the_reference(name: str):
    it = command(name)
    parts = [it, *(it.commands.values() if isinstance(it, click.Group) else ())]
    own = [opt for part in parts for one in part.params if isinstance(one, click.Option) for opt in one.opts]

    assert f"## `fleet-agent {name}" in REFERENCE
    assert [opt for opt in own if opt not in REFERENCE] == []


@pytest.mark.parametrize("kind", [Latest, Readings, ReadingAnswer, Alarms, AlarmNow, BufferReport, LaneDepth, LogTail])
def test_the_fields_of_the_sockets_answers_are_in_the_reference(kind: type):
    names = [field.name for field in fields(kind)]

    assert [name for name in names if f"`{name}`" not in SOCKET and f"`{name}[]`" not in SOCKET] == []


def test_the_status_fields_are_in_the_reference():
    names = {
        field.name for kind in (Status, BufferStatus, ClockStatus, SourceStatus, SyncStatus) for field in fields(kind)
    }

    assert [name for name in sorted(names) if f"`{name}`" not in REFERENCE and f"`{name}[]`" not in REFERENCE] == []
