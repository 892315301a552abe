"""Talk to systemd: sd_notify(3), one datagram of `NAME=value` lines to the socket in NOTIFY_SOCKET.

Without systemd (a shell, a test) nothing is sent and nobody minds.
"""

import contextlib
import os
import socket


class Systemd:
    """The service manager that started this process, or nobody."""

    def __init__(self, address: str, watchdog_s: float | None) -> None:
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self.watchdog_s = watchdog_s  # the unit's WatchdogSec; None: nobody watches

    def ready(self) -> None:
        """Say that start-up is over."""
        self._send("READY=1")

    def status(self, sentence: str) -> None:
        """Show one line in `systemctl status`."""
        self._send(f"STATUS={sentence.splitlines()[0] if sentence else ''}")

    def feed(self) -> None:
        """Keep the watchdog quiet for another WatchdogSec."""
        self._send("WATCHDOG=1")

    def stopping(self) -> None:
        """Say that the end has begun."""
        self._send("STOPPING=1")

    def _send(self, state: str) -> None:
        if not self._address:
            return
        # A manager that does not listen is no reason to stop measuring; the watchdog will tell it soon enough.
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as it:
            it.sendto(state.encode(), socket.MSG_DONTWAIT, self._address)


def from_environment(environ: os._Environ[str] | dict[str, str] | None = None) -> Systemd:
    """Find the service manager by NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID."""
    env = os.environ if environ is None else environ
    usec = env.get("WATCHDOG_USEC", "")
    meant = env.get("WATCHDOG_PID", "") in {"", str(os.getpid())}
    watchdog_s = int(usec) / 1e6 if usec.isdecimal() and int(usec) > 0 and meant else None
    return Systemd(env.get("NOTIFY_SOCKET", ""), watchdog_s)
