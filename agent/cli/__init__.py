"""`fleet-agent`: the agent's commands.

A command's module is imported when the command is used, so that `run` loads nothing that only `enroll` needs. An
error is a sentence with the next step on stderr; exit codes are 0 done, 1 failed, 2 usage, 70 a bug, which
leaves one line with its traceback.
"""

import importlib
import sys
from collections.abc import Sequence

import click

from agent.errors import AgentError

FAILED = 1
BUG = 70  # EX_SOFTWARE of sysexits.h
INTERRUPTED = 130
COMMANDS = (
    "install",
    "enroll",
    "run",
    "status",
    "latest",
    "readings",
    "alarms",
    "buffer",
    "log",
    "doctor",
    "port",
    "config",
    "rule",
    "renew",
    "uninstall",
)


class Lazy(click.Group):
    """A group whose commands are the modules of this package."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        """Return the names in the order that a new user meets them."""
        return list(COMMANDS)

    def get_command(self, _ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command's module and return its `command`."""
        if cmd_name not in COMMANDS:
            return None
        found = importlib.import_module(f"agent.cli.{cmd_name}").command
        return found if isinstance(found, click.Command) else None


@click.group(cls=Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="fieldline", prog_name="fleet-agent")
def root() -> None:
    """Read a machine's sensors, keep what they say, and bring it to the fleet: the Fieldline agent.

    \b
    A device's first day:
      sudo fleet-agent install fl1/fleet.example.com:8443/…/…
      sudo fleet-agent status

    \b
    The same by hand, in a directory of your own:
      fleet-agent enroll fl1/fleet.example.com:8443/…/… --state ./state
      fleet-agent run --state ./state --config first.toml
    """  # noqa: D301 - \b is click's mark for a block that is not re-wrapped


def main(args: Sequence[str] | None = None) -> None:
    """Run a command and exit with its code."""
    try:
        root.main(args, prog_name="fleet-agent", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(INTERRUPTED)
    except AgentError as error:
        click.echo(f"Error: {error.message}", err=True)
        if error.hint:
            click.echo(error.hint, err=True)
        sys.exit(FAILED)
    except Exception as error:  # noqa: BLE001 - the edge: nobody is shown a bare traceback
        from agent.adapters.log import tell_bug  # noqa: PLC0415 - never needed, if all is well

        tell_bug("this is a bug in fleet-agent; please report this line", error)
        raise SystemExit(BUG) from None
