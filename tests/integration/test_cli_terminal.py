"""The command on a terminal, off one, and over TLS."""

import os
import pty
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from click.testing import CliRunner
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from stub_api import listening, stub

from fleet.cli import main

DEVICES = {
    "items": [
        {
            "id": "freezer-7k3m2q",
            "presence": "offline",
            "last_seen_us": 1_700_000_000_000_000,
            "config": {"desired": 4, "applied": 3, "state": "pending"},
            "open_alarms": 2,
            "worst_severity": "critical",
            "open_tickets": 1,
            "agent_version": "0.1.0",
            "serial": "FZ-0042",
            "site": "Store 7, a long way behind the harbour \x1b[2J",
        }
    ],
    "next": None,
}


def on_terminal(words: list[str], url: str, columns: int, **extra: str) -> str:
    """Run a command on a pseudo terminal so wide and return what it printed."""
    leader, follower = pty.openpty()
    env = {**os.environ, "FLEET_URL": url, "FLEET_TOKEN": "flt_x", "TERM": "xterm", "COLUMNS": str(columns), **extra}
    with subprocess.Popen([sys.executable, "-m", "fleet.cli", *words], stdout=follower, env=env):
        os.close(follower)
        printed = b""
        with os.fdopen(leader, "rb", buffering=0) as screen:
            try:
                while piece := screen.read(65536):
                    printed += piece
            except OSError:
                pass  # how Linux says that the other end of a pty is closed
    return printed.decode()


@pytest.fixture
def url():
    with stub({"/devices": JSONResponse(DEVICES)}) as server:
        yield server.url


def test_a_terminal_shows_presence_in_colour_and_in_words(url: str):
    shown = on_terminal(["device", "list"], url, 160)

    assert "\x1b[31moffline" in shown
    assert "critical" in shown
    assert "3 → 4 pending" in shown.replace("\x1b[33m", "").replace("\x1b[0m", "")


def test_no_color_means_no_colour(url: str):
    assert "\x1b[31m" not in on_terminal(["device", "list"], url, 160, NO_COLOR="1")


def test_what_a_device_says_does_not_clear_the_screen(url: str):
    assert "\x1b[2J" not in on_terminal(["device", "list"], url, 160)


def test_a_phone_wide_terminal_keeps_the_whole_id(url: str):
    shown = on_terminal(["device", "list"], url, 60, NO_COLOR="1")

    assert "freezer-7k3m2q" in shown
    assert "config" in shown
    assert "3 → 4 pending" in shown


def test_off_a_terminal_a_row_is_one_line_without_colour(url: str):
    done = CliRunner().invoke(main, ["device", "list"], env={"FLEET_URL": url, "FLEET_TOKEN": "flt_x"})

    assert len(done.stdout.splitlines()) == 2
    assert "\x1b" not in done.stdout


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """Make a self-signed certificate for 127.0.0.1; key.pem lies beside it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    (tmp_path / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (tmp_path / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return tmp_path / "cert.pem"


async def _empty(_request: Request) -> Response:
    return JSONResponse({"items": [], "next": None})


def test_a_certificate_of_an_unknown_ca_is_refused_until_the_ca_is_named(certificate: Path):
    app = Starlette(routes=[Route("/{path:path}", _empty)])
    files = {"ssl_certfile": str(certificate), "ssl_keyfile": str(certificate.with_name("key.pem"))}
    with listening(app, **files) as secure:
        env = {"FLEET_URL": secure, "FLEET_TOKEN": "flt_x"}
        stranger = CliRunner().invoke(main, ["device", "list", "--json"], env=env)
        known = CliRunner().invoke(main, ["device", "list", "--json"], env={**env, "FLEET_CA": str(certificate)})

    assert stranger.exit_code == 1
    assert "could not be trusted" in stranger.stderr
    assert "FLEET_CA" in stranger.stderr
    assert known.stdout == "[]\n"
