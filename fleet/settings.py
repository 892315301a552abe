"""What the operator may choose, parsed once. Secrets are never arguments: they are files in the data directory.

The data directory:
    fieldline.db   the database, if no other is named
    ca/            the fleet's root and the server's certificate: back this up
    admin.token    the first token (0600)
    nats/          the broker's, made anew at each start
    backups/       copies of the database from before each upgrade
    lock           held by the one server that runs here
"""

import ipaddress
import math
import re
import socket
from dataclasses import dataclass
from pathlib import Path

from agent.wire.limits import MAX_NEXT_S, MAX_PORT
from fleet.errors import Misconfigured

DEFAULT_DATA = Path("fieldline-data")
LOCAL_NAMES = ("127.0.0.1", "localhost")
MIN_SYNC_EVERY_S = 0.1
MAX_GRACE_DAYS = 3650
MAX_HOST_CHARS = 253
HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,62})(\.[A-Za-z0-9_-]{1,63})*")  # RFC 1123, and the _ that people use


@dataclass(frozen=True, slots=True)
class Settings:
    """One server's settings; a port of 0 is any free one."""

    data: Path = DEFAULT_DATA
    api_host: str = ""  # "": the loopback, or every address where a certificate is given
    api_port: int = 8080
    gateway_port: int = 8443
    link_port: int = 8883
    names: tuple[str, ...] = ()  # by which devices call this server; the first stands in claims
    database: str = ""  # "": SQLite in the data directory
    sync_every_s: float = 5.0  # devices are told to call so often
    device_readings_s: float = 0.0  # that one device may send in the long run; 0: no limit
    product_readings_s: float = 0.0  # that all devices of one product may send
    renewal_grace_days: float = 180.0  # after a certificate's end, in which its device may still renew it
    api_certificate: Path | None = None  # PEM, with the chain: the API and console are HTTPS then
    api_key: Path | None = None  # PEM
    cluster_key: Path | None = None  # the secret that the nodes of a fleet share; None: this server is alone
    cluster_host: str = ""  # by which the other nodes reach this one
    cluster_port: int = 4222  # of its broker, for the other nodes
    public_gateway_port: int = 0  # that devices are told, where a balancer stands before the nodes; 0: gateway_port …
    public_link_port: int = 0  # … and link_port

    def __post_init__(self) -> None:
        told = (("public-gateway", self.public_gateway_port), ("public-link", self.public_link_port))
        own = (("api", self.api_port), ("gateway", self.gateway_port), ("link", self.link_port))
        for what, port in (*own, ("cluster", self.cluster_port), *told):
            if not 0 <= port <= MAX_PORT:
                raise Misconfigured(f"{port} is not a port", hint=f"Choose --{what}-port from 1 to {MAX_PORT}.")
        shared = self.cluster_port if self.cluster_key is not None else 0
        chosen = [port for port in (self.api_port, self.gateway_port, self.link_port, shared) if port]
        if len(set(chosen)) != len(chosen):
            raise Misconfigured("API, gateway and link need a port each", hint="Choose different ports.")
        self._check_limits()
        if self.cluster_key is not None:
            self._check_cluster()
        for name in self.names:
            if not _is_host(name):
                raise Misconfigured(
                    f"{name!r} is neither a host name nor an address", hint="Give --name as devices call the server."
                )
        if (self.api_certificate is None) != (self.api_key is None):
            raise Misconfigured("HTTPS needs a certificate and its key", hint="Give both --api-cert and --api-key.")

    def _check_limits(self) -> None:
        if not MIN_SYNC_EVERY_S <= self.sync_every_s <= MAX_NEXT_S:
            raise Misconfigured(
                f"devices cannot call every {self.sync_every_s:g} s",
                hint=f"Choose --sync-every from {MIN_SYNC_EVERY_S} to {MAX_NEXT_S}.",
            )
        if not 0 <= self.device_readings_s < math.inf or not 0 <= self.product_readings_s < math.inf:
            raise Misconfigured(
                "a limit of readings a second is a number from 0 on",
                hint="Choose --device-readings and --product-readings; 0: no limit.",
            )
        if not 0 <= self.renewal_grace_days <= MAX_GRACE_DAYS:
            raise Misconfigured(
                f"a grace of {self.renewal_grace_days:g} days cannot be given",
                hint=f"Choose --renewal-grace-days from 0 to {MAX_GRACE_DAYS}.",
            )

    def _check_cluster(self) -> None:
        if not self.database.startswith("postgres"):
            raise Misconfigured(
                "several nodes share a PostgreSQL database, and none is named",
                hint="Give --database postgresql+psycopg://…, or leave --cluster-key out.",
            )
        if not self.cluster_host or not _is_host(self.cluster_host):
            raise Misconfigured(
                f"the other nodes cannot reach this one by the name {self.cluster_host!r}",
                hint="Give --cluster-host: this machine's name or address on the network that the nodes share.",
            )

    @property
    def told_gateway_port(self) -> int:
        """Port of the gateway as devices are told."""
        return self.public_gateway_port or self.gateway_port

    @property
    def told_link_port(self) -> int:
        """Port of the link as devices are told."""
        return self.public_link_port or self.link_port

    @property
    def cluster_address(self) -> str:
        """Where the other nodes reach this one's broker."""
        host = f"[{self.cluster_host}]" if ":" in self.cluster_host else self.cluster_host
        return f"{host}:{self.cluster_port}"

    @property
    def renewal_grace_us(self) -> int:
        """The same in microseconds."""
        return int(self.renewal_grace_days * 86_400 * 1_000_000)

    @property
    def database_url(self) -> str:
        """The database's URL."""
        return self.database or f"sqlite:///{self.data.absolute() / 'fieldline.db'}"

    @property
    def ca(self) -> Path:
        """Folder of the fleet's root and the server's certificate."""
        return self.data / "ca"

    @property
    def nats(self) -> Path:
        """Folder of the broker."""
        return self.data / "nats"

    @property
    def admin_token(self) -> Path:
        """File of the first token."""
        return self.data / "admin.token"

    @property
    def lock(self) -> Path:
        """File that the one server of this data directory holds locked."""
        return self.data / "lock"

    @property
    def server_names(self) -> tuple[str, ...]:
        """Every name that the server's certificate shall carry; the first is the one that claims give out."""
        hostname = socket.gethostname()
        own = (hostname,) if _is_host(hostname) else ()
        shared = (self.cluster_host,) if self.cluster_host else ()
        return tuple(dict.fromkeys((*self.names, *LOCAL_NAMES, "::1", *own, *shared)))

    @property
    def console_url(self) -> str:
        """Where a person on this machine finds the console."""
        scheme = "https" if self.api_certificate else "http"
        host = self.api_host if self.api_host and not _is_any(self.api_host) else LOCAL_NAMES[0]
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{self.api_port}"

    @property
    def api_is_local(self) -> bool:
        """Whether only this machine reaches the API."""
        if not self.api_host:
            return self.api_certificate is None
        try:
            return ipaddress.ip_address(self.api_host).is_loopback
        except ValueError:
            return self.api_host == "localhost"


def _is_host(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return len(name) <= MAX_HOST_CHARS and HOST.fullmatch(name) is not None
    return True


def _is_any(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False
