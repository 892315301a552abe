"""Certificates and a clock that cannot be believed: the device reaches its fleet, and nobody else gets in between."""

import datetime as dt
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from est_server import AN_HOUR_AGO, Ca, EstServer

from agent.adapters.clock import SystemClock
from agent.adapters.enrol import enrol, renew
from agent.adapters.tls import FleetContext, fleet_context
from agent.settings import StateDir

IN_1970_US = 12_000_000
DAY_US = 86_400 * 1_000_000


def now_us() -> int:
    return SystemClock().now_us()


@contextmanager
def serving(folder: Path, ca: Ca, life: dt.timedelta, start: dt.timedelta = AN_HOUR_AGO) -> Iterator[int]:
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = ca.issue("server", key.public_key(), life, host="127.0.0.1", start=start)
    pem = folder / "tls.pem"
    private = key.private_bytes(Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    pem.write_bytes(private + certificate.public_bytes(Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(20)

        def serve() -> None:
            while True:
                try:
                    peer, _ = listening.accept()
                except OSError:
                    return
                with peer:
                    try:
                        context.wrap_socket(peer, server_side=True).close()
                    except OSError:
                        continue

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()


def trusting(ca: Ca, clock_us: int, floor_us: int, *, synced: bool = False) -> FleetContext:
    context = fleet_context(floor_us, lambda: clock_us, lambda: synced)
    context.load_verify_locations(cadata=ca.certificate.public_bytes(Encoding.PEM).decode())
    return context


def shake(context: ssl.SSLContext, port: int) -> None:
    with (
        socket.create_connection(("127.0.0.1", port), timeout=20) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1"),
    ):
        pass


def test_a_clock_before_the_devices_own_certificate_is_not_asked(tmp_path: Path):
    ca = Ca()
    with serving(tmp_path, ca, dt.timedelta(days=90)) as port:
        shake(trusting(ca, IN_1970_US, now_us() - 30 * DAY_US), port)


def test_a_certificate_that_ended_before_the_devices_own_was_issued_is_refused(tmp_path: Path):
    ca = Ca()
    with serving(tmp_path, ca, dt.timedelta(minutes=-5)) as port, pytest.raises(ssl.SSLCertVerificationError):
        shake(trusting(ca, IN_1970_US, now_us()), port)


def test_another_ca_is_refused_whatever_the_clock_says(tmp_path: Path):
    with serving(tmp_path, Ca(), dt.timedelta(days=90)) as port, pytest.raises(ssl.SSLCertVerificationError):
        shake(trusting(Ca(), IN_1970_US, now_us()), port)


def test_an_ended_certificate_is_refused_by_a_clock_that_can_be_right(tmp_path: Path):
    ca = Ca()
    with serving(tmp_path, ca, dt.timedelta(minutes=-5)) as port, pytest.raises(ssl.SSLCertVerificationError):
        shake(trusting(ca, now_us(), now_us() - 30 * DAY_US), port)


def test_a_certificate_of_the_future_shows_that_an_unset_clock_is_behind(tmp_path: Path):
    ca = Ca()
    with serving(tmp_path, ca, dt.timedelta(days=90), start=dt.timedelta(days=3)) as port:
        context = trusting(ca, now_us(), now_us() - 30 * DAY_US)
        with pytest.raises(ssl.SSLCertVerificationError):
            shake(context, port)

        shake(context, port)


def test_a_certificate_of_the_future_is_refused_where_a_time_server_has_set_the_clock(tmp_path: Path):
    ca = Ca()
    with serving(tmp_path, ca, dt.timedelta(days=90), start=dt.timedelta(days=3)) as port:
        context = trusting(ca, now_us(), now_us() - 30 * DAY_US, synced=True)
        for _ in range(2):
            with pytest.raises(ssl.SSLCertVerificationError):
                shake(context, port)


@pytest.mark.parametrize("years_ago", [20, 56])
def test_a_device_renews_with_its_clock_in_the_past(tmp_path: Path, years_ago: int):
    state = StateDir(tmp_path / "state")
    with EstServer(tmp_path).serving() as server:
        first = enrol(server.claim, state, now_us())
        server.life = dt.timedelta(days=200)

        clock_us = max(IN_1970_US, now_us() - years_ago * 365 * DAY_US)

        assert renew(state, clock_us).cert_expires_us > first.cert_expires_us
