"""The one TLS context of both roads: the device's certificate, and the fleet's own CA as the only one trusted.

A machine without a battery for its clock wakes up in 1970, or where it was switched off a year ago. It must reach its
fleet all the same, for the fleet is where it learns the time. So validity in time is judged by a clock only as far
as the clock can be believed:

    it shows a time before the device's own certificate was issued      it is wrong, for certain
    the server's certificate, signed by the fleet's CA, is not valid
    yet, and no time server has set the clock                           it is behind: the CA signs nothing in advance

In both cases the chain, the name and the key are verified as ever, and instead of the clock's time that of the device's
own certificate is the least that it can be: a server's certificate that ended before is refused.
"""

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.errors import Misconfigured
from agent.settings import CREDENTIAL, SEALED, Identity
from agent.wire.limits import MAX_TIME_US
from agent.wire.units import US_PER_S

NO_CHECK_TIME = ssl.VerifyFlags(0x200000)  # X509_V_FLAG_NO_CHECK_TIME of OpenSSL, which Python does not name
NOT_YET_VALID = 9  # X509_V_ERR_CERT_NOT_YET_VALID


class FleetContext(ssl.SSLContext):
    """Verifies the fleet's server. `now_us` and `is_synced` tell of the clock, `floor_us` is the least it can show."""

    now_us: Callable[[], int]
    is_synced: Callable[[], bool]
    floor_us: int
    is_behind: bool  # a certificate of the fleet has shown that the clock is
    shown: "Shown | None"  # what this side proves itself by
    is_key_loaded: bool

    @property
    def doubts_clock(self) -> bool:
        """Tell whether validity in time is left out."""
        return self.now_us() < self.floor_us or (self.is_behind and not self.is_synced())

    def wrap_socket(self, *args: Any, **options: Any) -> ssl.SSLSocket:  # noqa: ANN401 - as the one it stands before
        """Wrap a socket, with time left out or not as of now."""
        if self.shown is not None and not self.is_key_loaded:
            try:
                self.show(self.shown)
            except Misconfigured as error:
                raise ssl.SSLError(ssl.SSL_ERROR_SSL, str(error)) from error
        flags = self.verify_flags & ~NO_CHECK_TIME
        self.verify_flags = flags | NO_CHECK_TIME if self.doubts_clock else flags
        return super().wrap_socket(*args, **options)

    def show(self, shown: "Shown") -> None:
        """Show a certificate on connections from now on; raises Misconfigured."""
        self.shown, self.is_key_loaded = shown, False
        try:
            if shown.key_config is not None:
                from agent.adapters.token import load_provider  # noqa: PLC0415 - few devices have a token

                load_provider(shown.key, shown.key_config)
            self.load_cert_chain(shown.cert, shown.key)
        except (OSError, ssl.SSLError) as error:
            raise _unusable(shown, error) from error
        self.is_key_loaded = True

    def forget_key(self) -> None:
        """Look for a key in a token anew when the next connection is made: the token may have been away."""
        if self.shown is not None and self.shown.key_config is not None:
            self.is_key_loaded = False


@dataclass(frozen=True, slots=True)
class Shown:
    """What a device shows of itself: its certificate, and the key that proves it to be its own."""

    cert: Path
    key: Path
    key_config: Path | None = None  # OpenSSL's configuration for a key in a token; None for one in a file


class _Socket(ssl.SSLSocket):
    """Looks at how a handshake ends."""

    def do_handshake(self, block: bool = False) -> None:  # noqa: FBT001, FBT002 - ssl's own signature
        """Shake hands; raises SSLCertVerificationError."""
        context = self.context
        try:
            super().do_handshake(block)
        except ssl.SSLCertVerificationError as error:
            if isinstance(context, FleetContext) and error.verify_code == NOT_YET_VALID:
                context.is_behind = True  # the next connection goes by it
            raise
        except ssl.SSLError:
            if isinstance(context, FleetContext):
                context.forget_key()
            raise
        if isinstance(context, FleetContext) and context.doubts_clock:
            _check_end(self.getpeercert(), context.floor_us)


def fleet_context(floor_us: int, now_us: Callable[[], int], is_synced: Callable[[], bool]) -> FleetContext:
    """Make a context that trusts nobody yet: TLS 1.2 or later, chain and name verified, time as far as it is known."""
    context = FleetContext(ssl.PROTOCOL_TLS_CLIENT)
    context.sslsocket_class = _Socket
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.now_us, context.is_synced, context.floor_us, context.is_behind = now_us, is_synced, floor_us, False
    context.shown, context.is_key_loaded = None, False
    return context


def client_context(
    identity: Identity, now_us: Callable[[], int] = lambda: MAX_TIME_US, is_synced: Callable[[], bool] = lambda: True
) -> FleetContext:
    """Make the context of a device, which believes the clock unless told of it; raises Misconfigured for a bad file.

    A key in a token is looked for when a connection is made, and again after one that failed: a token that is away, or
    a TPM that rests after too many power cuts, keeps the device from its fleet and not from measuring.
    """
    context = fleet_context(identity.cert_issued_us, now_us, is_synced)
    try:
        context.load_verify_locations(identity.chain_path)
    except (OSError, ssl.SSLError) as error:
        raise _unusable(shown_by(identity), error) from error
    if identity.key_config is None:
        context.show(shown_by(identity))
    else:
        context.shown = shown_by(identity)
    return context


def shown_by(identity: Identity) -> Shown:
    """Return what a device shows of itself."""
    return Shown(identity.cert_path, identity.key_path, identity.key_config)


def use_renewed(context: FleetContext, identity: Identity) -> None:
    """Show the new certificate on connections from now on; raises Misconfigured."""
    context.show(shown_by(identity))
    context.floor_us = identity.cert_issued_us


def _check_end(certificate: Any, floor_us: int) -> None:  # noqa: ANN401 - ssl's dict
    ends_us = int(ssl.cert_time_to_seconds(certificate["notAfter"])) * US_PER_S
    if ends_us < floor_us:
        raise ssl.SSLCertVerificationError("the server's certificate ended before the device's own was issued")


def _unusable(shown: Shown, error: Exception) -> Misconfigured:
    if shown.key_config is not None:
        return Misconfigured(
            f"The token does not give the key that {shown.key} names: {error}.",
            hint="If `fleet-agent doctor` finds it, restart the agent; else see docs/operate/hardware-key.md.",
        )
    if shown.key.name == CREDENTIAL:
        return Misconfigured(
            f"The certificate {shown.cert} and the sealed key {SEALED} cannot be used: {error}.",
            hint="If the device was enrolled anew since its key was sealed, remove the sealed one: "
            f"sudo rm {SEALED}; sudo systemctl restart fleet-agent",
        )
    return Misconfigured(
        f"The certificate {shown.cert} and the key {shown.key} cannot be used: {error}.",
        hint="Check the files' rights, or enroll the device anew.",
    )
