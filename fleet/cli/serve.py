"""`fleet serve`: the server, whole. The one command that is the server and does not speak to it."""

from pathlib import Path

import click

from fleet.cli.options import data_option
from fleet.cli.shell import Command


@click.command(
    cls=Command,
    examples=(
        "fleet serve",
        "fleet serve --data /var/lib/fieldline-server --name fleet.example.com",
        "fleet serve --database postgresql+psycopg://fieldline@db/fieldline",
        "fleet serve --database postgresql+psycopg://db/fieldline --cluster-key cluster.key --cluster-host 10.0.0.1",
    ),
)
@data_option("Everything that the server keeps.")
@click.option("--api-port", default=8080, show_default=True, envvar="FLEET_API_PORT", help="API and console.")
@click.option(
    "--gateway-port", default=8443, show_default=True, envvar="FLEET_GATEWAY_PORT", help="Devices, HTTPS: enrol, sync."
)
@click.option("--link-port", default=8883, show_default=True, envvar="FLEET_LINK_PORT", help="Devices, MQTT.")
@click.option(
    "--name",
    "names",
    multiple=True,
    metavar="HOST",
    envvar="FLEET_NAME",
    help="Name or address by which devices call this server; the first stands in claims. May be given again.",
)
@click.option("--database", default="", metavar="URL", envvar="FLEET_DATABASE", help="Instead of SQLite in the data.")
@click.option(
    "--cluster-key",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="FLEET_CLUSTER_KEY",
    help="File with the secret of a fleet of several nodes, the same on each (`openssl rand -base64 32`).",
)
@click.option(
    "--cluster-host",
    default="",
    metavar="HOST",
    envvar="FLEET_CLUSTER_HOST",
    help="With --cluster-key: name or address by which the other nodes reach this one.",
)
@click.option(
    "--cluster-port",
    default=4222,
    show_default=True,
    envvar="FLEET_CLUSTER_PORT",
    help="With --cluster-key: where the other nodes reach this one's broker (TLS).",
)
@click.option(
    "--public-gateway-port",
    default=0,
    metavar="PORT",
    envvar="FLEET_PUBLIC_GATEWAY_PORT",
    help="Port of the gateway that devices are told, where a balancer has another than --gateway-port.",
)
@click.option(
    "--public-link-port",
    default=0,
    metavar="PORT",
    envvar="FLEET_PUBLIC_LINK_PORT",
    help="The same for the link.",
)
@click.option(
    "--sync-every",
    "sync_every_s",
    type=float,
    default=5.0,
    show_default=True,
    metavar="SECONDS",
    envvar="FLEET_SYNC_EVERY",
    help="How often devices are told to call.",
)
@click.option(
    "--device-readings",
    "device_readings_s",
    type=float,
    default=0.0,
    show_default=True,
    metavar="A_SECOND",
    envvar="FLEET_DEVICE_READINGS",
    help="Readings that one device may send in the long run; 0: no limit.",
)
@click.option(
    "--product-readings",
    "product_readings_s",
    type=float,
    default=0.0,
    show_default=True,
    metavar="A_SECOND",
    envvar="FLEET_PRODUCT_READINGS",
    help="The same, of all devices of one product together.",
)
@click.option(
    "--renewal-grace-days",
    type=float,
    default=180.0,
    show_default=True,
    metavar="DAYS",
    envvar="FLEET_RENEWAL_GRACE_DAYS",
    help="How long after its certificate's end a device may still renew it by itself.",
)
@click.option(
    "--api-host",
    default="",
    metavar="HOST",
    envvar="FLEET_API_HOST",
    help="Where API and console listen; on this machine alone if not said.",
)
@click.option(
    "--api-cert",
    "api_certificate",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    envvar="FLEET_API_CERT",
    help="Certificate (PEM) with which API and console are HTTPS, on every address.",
)
@click.option(
    "--api-key",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    envvar="FLEET_API_KEY",
    help="Its key (PEM).",
)
def serve(**chosen: object) -> None:
    """Run the fleet server.

    Makes its data directory, certificate authority and first token by itself. Its first line on stdout says that it
    is ready, and where; logs go to stderr. Ctrl-C or SIGTERM ends it in order.
    """
    from fleet.settings import Settings  # noqa: PLC0415 - only this command needs it

    settings = Settings(**chosen)  # type: ignore[arg-type]  # click has made each of its option's type
    from fleet.app import run  # noqa: PLC0415 - the server is imported only to be run, and not to be refused

    run(settings)
