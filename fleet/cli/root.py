"""The root of the command: the table of all commands and what holds for every one of them."""

import click

from fleet.cli.shell import LazyGroup

COMMANDS = {
    "serve": ("fleet.cli.serve", "serve", "Run the fleet server."),
    "login": ("fleet.cli.login", "login", "Sign in to a fleet server."),
    "context": ("fleet.cli.context", "context", "Choose between the servers you are signed in to."),
    "claim": ("fleet.cli.claim", "claim", "Prepare new devices."),
    "device": ("fleet.cli.device", "device", "See devices, transfer one, shut one out."),
    "customer": ("fleet.cli.customer", "customer", "See and add customers."),
    "latest": ("fleet.cli.reading", "latest", "Show the newest value of each series of a device."),
    "readings": ("fleet.cli.reading", "readings", "Print the readings of one series, oldest first."),
    "series": ("fleet.cli.series", "series", "See one series over many devices."),
    "meter": ("fleet.cli.meter", "meter", "See what counters have counted, by hour, day, month or year."),
    "tally": ("fleet.cli.tally", "tally", "Count the readings that are kept, with a checksum."),
    "export": (
        "fleet.cli.export",
        "export",
        "Write readings and gaps into files: of one device, of those you choose, or of the whole fleet.",
    ),
    "import": ("fleet.cli.restore", "import_", "Read an export back, into this fleet or another."),
    "gap": ("fleet.cli.gap", "gap", "See what will never arrive, and why."),
    "quarantine": ("fleet.cli.quarantine", "quarantine", "See what devices sent that could not be read."),
    "alarm": ("fleet.cli.alarm", "alarm", "See and acknowledge alarms."),
    "ticket": ("fleet.cli.ticket", "ticket", "Work on tickets."),
    "config": ("fleet.cli.config", "config", "Set configs, see who runs them."),
    "retention": ("fleet.cli.retention", "retention", "See and set how long telemetry is kept."),
    "why": ("fleet.cli.why", "why", "Say in sentences how a device stands, and why not as it should."),
    "find": ("fleet.cli.find", "find", "Find devices, tickets and more by anything you know of them."),
    "events": ("fleet.cli.watch", "events", "List what has happened to a device, newest last."),
    "watch": ("fleet.cli.watch", "watch", "Print what happens, as it happens."),
    "db": ("fleet.cli.db", "db", "Move the database of a server that is stopped."),
    "node": ("fleet.cli.node", "node", "See the servers that share the database."),
    "doctor": ("fleet.cli.doctor", "doctor", "Check the server and its data; say what to do."),
    "token": ("fleet.cli.token", "token", "Give programs and people access, and take it away."),
    "completion": ("fleet.cli.completion", "completion", "Print the shell's completion script."),
}
"""Name of a command → module, attribute, short help; in the order of the help page."""


@click.group(
    cls=LazyGroup,
    lazy=COMMANDS,
    help="""The link after the sale: devices, alarms, tickets and configs of a fleet.

    Sign in once with `fleet login`, or set FLEET_URL and FLEET_TOKEN, which win. Every command but serve and
    completion takes --json. Exit codes: 0 done, 1 failed, 2 usage, 3 not found, 4 refused.""",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option("-c", "--context", metavar="NAME", help="Speak to this server, not the current.")
@click.version_option(package_name="fieldline", prog_name="fleet", message="%(prog)s %(version)s")
def main(context: str | None) -> None:
    """Run one command; the context is read where a client is opened (`fleet.cli.client`)."""
    del context
