"""`fleet completion`: the shell's own completion, made by click."""

import click
from click.shell_completion import get_completion_class

from fleet.cli.shell import Command


@click.command(cls=Command, examples=('eval "$(fleet completion bash)"', "fleet completion fish"))
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the shell's completion script.

    bash: eval "$(fleet completion bash)" in ~/.bashrc; zsh the same in ~/.zshrc; fish: fleet completion fish >
    ~/.config/fish/completions/fleet.fish.
    """
    root = ctx.find_root()
    name = root.info_name or "fleet"
    made = get_completion_class(shell)
    assert made is not None  # noqa: S101 - click has all three
    click.echo(made(root.command, {}, name, f"_{name.upper().replace('-', '_')}_COMPLETE").source())
