"""The reference page of the command, written from the commands themselves; a test holds the page current."""

import inspect
from collections.abc import Iterator

import click

from fleet.cli.root import main
from fleet.cli.shell import Command, Exit

NOTICE = "<!-- Generated from the code by `make docs`; edit the code. -->\n"
EXIT = {
    Exit.DONE: "what was asked has happened",
    Exit.FAILED: "it has not; the message says why and what to do next",
    Exit.USAGE: "the command line cannot be understood",
    Exit.NOT_FOUND: "there is no such device, ticket, alarm, …",
    Exit.REFUSED: "a right is missing, or a state forbids it (HTTP 401, 403, 409)",
}
HEAD = """# The fleet command

`fleet` and `fieldline` are the same command. It speaks only the public API; `fleet serve` is the server itself.

**Which server.** `FLEET_URL` and `FLEET_TOKEN` win; else the context that `-c NAME` or `fleet context use` names, kept
by `fleet login` in the user's config folder, readable by its owner alone. `FLEET_CA` names a PEM file of a CA to trust.

**Output.** Tables are for people and may change. Every command but `serve` and `completion` takes `--json`, and that
is the API's objects as they are: one JSON value, a list as one array, `readings` and `watch` as one object a line
(NDJSON). There is no colour where the output is no terminal or `NO_COLOR` is set.

**Times** are said as ISO-8601 (UTC where no zone is said), as a distance to now (`-15m`, `-2h`, `-1d`), as `now`, or
as microseconds since 1970. Lengths of time are said as `90s`, `15m`, `12h`, `7d`.

## Exit codes

| code | meaning |
|---|---|
"""


def commands(group: click.Group = main, path: str = "fleet") -> Iterator[tuple[str, click.Command]]:
    """Yield every command that does something with its full name, in the order of the help pages."""
    ctx = click.Context(group, info_name=path)
    for name in group.list_commands(ctx):
        command = group.get_command(ctx, name)
        assert command is not None  # noqa: S101 - it was listed
        if isinstance(command, click.Group):
            yield from commands(command, f"{path} {name}")
        else:
            yield f"{path} {name}", command


def page() -> str:
    """Return the page as Markdown."""
    codes = "".join(f"| {code.value} | {meaning} |\n" for code, meaning in EXIT.items())
    return NOTICE + HEAD + codes + "".join(_section(path, command) for path, command in commands())


def _section(path: str, command: click.Command) -> str:
    usage = " ".join(command.collect_usage_pieces(click.Context(command)))
    lines = [f"\n## {path}\n", f"`{path} {usage}`\n", inspect.cleandoc(command.help or ""), ""]
    options = [one for one in command.params if isinstance(one, click.Option)]
    if options:
        lines += ["| option | meaning |", "|---|---|"]
        lines += [f"| {_names(one)} | {_meaning(one)} |" for one in options]
        lines.append("")
    if isinstance(command, Command) and command.examples:
        lines += ["```sh", *command.examples, "```"]
    return "\n".join(lines).rstrip() + "\n"


def _names(option: click.Option) -> str:
    names = ", ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))
    choice = "\\|".join(map(str, option.type.choices)) if isinstance(option.type, click.Choice) else ""
    value = "" if option.is_flag else choice or option.metavar or option.type.name.upper()
    return f"{names} {value}".rstrip()


def _meaning(option: click.Option) -> str:
    said = option.help or ""
    if option.show_default and option.default is not None:
        said += f" Default: {option.default}."
    if option.envvar:
        said += f" Or set {option.envvar}."
    return ("Required. " if option.required else "") + said.replace("|", "\\|")
