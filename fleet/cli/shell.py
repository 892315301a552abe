"""What all commands are made with: groups that load lazily, commands that carry examples, errors as exit codes.

Exit codes: 0 done, 1 failed, 2 usage, 3 not found, 4 refused.
"""

import difflib
import importlib
from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import IO, Any

import click
from click.shell_completion import CompletionItem

from fleet.errors import FleetError, NotFound, Refused, Unauthenticated

MAX_SHORT_CHARS = 200  # of a first sentence


class Exit(IntEnum):
    """What the command's exit code says."""

    DONE = 0  # what was asked has happened
    FAILED = 1  # it has not; the message says why and what to do
    USAGE = 2  # the command line cannot be understood
    NOT_FOUND = 3  # there is no such device, ticket, alarm, …
    REFUSED = 4  # a right is missing, or a state forbids it (HTTP 401, 403, 409)


class Failure(click.ClickException):
    """An error as a person reads it: what happened, then the next step."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the sentence and the hint to stderr."""
        click.echo(f"Error: {printable(self.message)}", file=file, err=file is None)
        if self.hint:
            click.echo(f"  {printable(self.hint)}", file=file, err=file is None)


class NothingThere(Failure):
    """There is no such thing."""

    exit_code = Exit.NOT_FOUND


class TurnedAway(Failure):
    """The server refused."""

    exit_code = Exit.REFUSED


def printable(text: str) -> str:
    """Replace control characters but line breaks and tabs: text from devices must not steer a terminal."""
    return "".join(char if char.isprintable() or char in "\n\t" else "\N{REPLACEMENT CHARACTER}" for char in text)


class Command(click.Command):
    """A command with examples; they stand in its help, in the reference, and are parsed by a test."""

    def __init__(self, *args: Any, examples: Sequence[str] = (), **kwargs: Any) -> None:  # noqa: ANN401 - click's own
        super().__init__(*args, **kwargs)
        self.examples = tuple(examples)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples below the options."""
        super().format_epilog(ctx, formatter)
        if self.examples:
            with formatter.section("Examples"):
                for example in self.examples:
                    formatter.write(f"{'':>{formatter.current_indent}}{example}\n")


class Group(click.Group):
    """A group whose commands are of `Command`; a slip in a command's name is answered with the nearest one."""

    command_class = Command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that is asked for."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            near = difflib.get_close_matches(args[0], self.list_commands(ctx), n=2)
            if not near:
                raise
            raise click.UsageError(f"{error.message} Did you mean {' or '.join(near)}?", ctx) from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands with the whole first sentence of each, which click would cut at a line's end."""
        found = ((name, self.get_command(ctx, name)) for name in self.list_commands(ctx))
        rows = [(name, one.get_short_help_str(MAX_SHORT_CHARS)) for name, one in found if one and not one.hidden]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


class LazyGroup(Group):
    """A group that imports a command's module when the command is used, not to list it.

    `lazy` maps a name to (module, attribute, short help); the short help is the command's own, held so by a test.
    """

    def __init__(self, *args: Any, lazy: Mapping[str, tuple[str, str, str]], **kwargs: Any) -> None:  # noqa: ANN401
        super().__init__(*args, **kwargs)
        self.lazy = lazy

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return all names, in the order of the table."""
        return [*self.lazy, *super().list_commands(ctx)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one command."""
        if cmd_name not in self.lazy:
            return super().get_command(ctx, cmd_name)
        module, attribute, _ = self.lazy[cmd_name]
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)  # noqa: S101 - a slip in the table, not in the input
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands from the table alone."""
        rows = [(name, self.lazy[name][2]) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 - click's own
        """Run the command; an error of the fleet's becomes a sentence and an exit code."""
        try:
            return super().invoke(ctx)
        except FleetError as error:
            raise _failure(error)(error.message, error.hint) from error

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete names from the table alone: a TAB must not import the server."""
        names = [name for name in self.list_commands(ctx) if name.startswith(incomplete)]
        options = click.Command.shell_complete(self, ctx, incomplete)
        return [*(CompletionItem(name, help=self.lazy[name][2]) for name in names), *options]


def _failure(error: FleetError) -> type[Failure]:
    if isinstance(error, NotFound):
        return NothingThere
    if isinstance(error, Refused | Unauthenticated):
        return TurnedAway
    return Failure
