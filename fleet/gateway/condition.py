"""What the server knows of itself, for `fleet doctor`: disk room, certificates, broker and link."""

import asyncio
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509

from fleet.core.finding import Finding, fail, ok, warn
from fleet.gateway.broker import Broker
from fleet.gateway.ca import SERVER_FILE, Authority
from fleet.gateway.link import Link

GB = 1_000_000_000
LEAST_FREE_BYTES = 200_000_000  # below it the next hour may fill the disk
LOW_FREE_BYTES = 5 * GB
LOW_FREE_SHARE = 0.1
ROOT_WARNING = timedelta(days=2 * 365)  # every device has to be enrolled anew until then
SERVER_WARNING = timedelta(days=30)  # the server renews its own at two thirds of 397 days


class Condition:
    """Looks at the process and its machine; the database is looked at elsewhere."""

    def __init__(self, data: Path, authority: Authority, broker: Broker, link: Link) -> None:
        self._data = data
        self._authority = authority
        self._broker = broker
        self._link = link

    async def __call__(self) -> list[Finding]:
        """Return what was found, at least one finding a check."""
        return await asyncio.to_thread(lambda: [*self._disk(), *self._certificates(), *self._broker_and_link()])

    def _disk(self) -> Iterator[Finding]:
        room = shutil.disk_usage(self._data)
        said = f"{room.free / GB:.1f} of {room.total / GB:.1f} GB are free where {self._data} lies."
        do = "Free space, or keep less: `fleet retention run --dry-run` says what is too old. Devices keep their data."
        if room.free < LEAST_FREE_BYTES:
            yield fail("disk", said, do)
        elif room.free < min(LOW_FREE_BYTES, LOW_FREE_SHARE * room.total):
            yield warn("disk", said, do)
        else:
            yield ok("disk", said)

    def _certificates(self) -> Iterator[Finding]:
        now = datetime.now(UTC)
        ends = self._authority.certificate.not_valid_after_utc
        do = "Make a new root and enrol all devices anew before: no device trusts another one."
        yield _until("ca", f"The fleet's root ends {ends.date()}.", ends - now, ROOT_WARNING, do)
        path = self._authority.folder / SERVER_FILE
        do = f"Restart the server, which makes it anew; if it does not, look at {path}."
        try:
            ends = x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc
        except (OSError, ValueError) as error:
            yield fail("certificate", f"The server's certificate cannot be read: {error}.", do)
        else:
            yield _until("certificate", f"The server's ends {ends.date()}.", ends - now, SERVER_WARNING, do)

    def _broker_and_link(self) -> Iterator[Finding]:
        do = "It is started again by itself, devices use the gateway meanwhile; the server's log says why it ended."
        if not self._broker.pid:
            yield fail("broker", "The broker does not run.", do)
        elif not self._link.is_up:
            yield fail("broker", "The broker runs, and the fleet has no session with it.", do)
        else:
            yield ok("broker", "It runs, and the fleet has a session with it.")


def _until(check: str, said: str, left: timedelta, warning: timedelta, do: str) -> Finding:
    if left <= timedelta(0):
        return fail(check, said, do)
    return warn(check, said, do) if left < warning else ok(check, said)
