import datetime as dt
import errno
import os
import ssl
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from est_server import EstServer

from agent.adapters.clock import SystemClock
from agent.adapters.enrol import enrol, renew
from agent.adapters.lock import held
from agent.adapters.tls import client_context
from agent.cli import main
from agent.errors import Misconfigured, Refused, Unavailable
from agent.settings import StateDir, load_identity


@pytest.fixture
def server(tmp_path: Path):
    folder = tmp_path / "server"
    folder.mkdir()
    with EstServer(folder).serving() as serving:
        yield serving


@pytest.fixture
def state(tmp_path: Path) -> StateDir:
    return StateDir(tmp_path / "state")


def files(state: StateDir) -> list[str]:
    return sorted(path.name for path in state.root.iterdir())


def now_us() -> int:
    return SystemClock().now_us()


def test_a_device_enrols_with_a_claim_and_a_key_of_its_own(server: EstServer, state: StateDir):
    identity = enrol(server.claim, state, now_us())

    assert identity == load_identity(state)
    assert (identity.device_id, identity.host, identity.gateway_port) == ("freezer-7k3m2q", "127.0.0.1", server.port)
    assert state.key.stat().st_mode & 0o777 == 0o600
    assert files(state) == ["cert.pem", "chain.pem", "identity.toml", "key.pem"]
    ssl.create_default_context().load_cert_chain(state.cert, state.key)  # they fit together


def test_the_certificates_end_is_known_without_reading_the_certificate(server: EstServer, state: StateDir):
    identity = enrol(server.claim, state, now_us())

    written = x509.load_pem_x509_certificate(state.cert.read_bytes())
    assert identity.cert_expires_us == int(written.not_valid_after_utc.timestamp()) * 1_000_000


def test_a_server_with_another_ca_gets_no_secret(server: EstServer, state: StateDir):
    claim = replace(server.claim, ca_fingerprint=bytes(32))

    with pytest.raises(Refused, match="its CA has another fingerprint"):
        enrol(claim, state, now_us())

    assert server.hits == ["cacerts"]
    assert files(state) == []


@pytest.mark.parametrize(
    ("detail", "said"),
    [
        ("the claim for freezer-7k3m2q was used already", "The fleet refused: the claim for freezer-7k3m2q was used"),
        ("the claim for freezer-7k3m2q has expired", "The fleet refused: the claim for freezer-7k3m2q has expired"),
    ],
)
def test_a_refused_claim_says_why_and_leaves_nothing(server: EstServer, state: StateDir, detail: str, said: str):
    server.problem = (403, {"detail": detail, "hint": "Create a new one: fleet claim create --product freezer"})

    with pytest.raises(Refused, match=said) as caught:
        enrol(server.claim, state, now_us())

    assert "fleet claim create" in caught.value.hint
    assert files(state) == []


def test_a_clock_far_off_is_told_with_both_times_and_the_remedy(server: EstServer, state: StateDir):
    in_1970 = 12_000_000

    with pytest.raises(Misconfigured) as caught:
        enrol(server.claim, state, in_1970)

    assert "1970-01-01 00:00:12 UTC" in caught.value.message
    assert f"{dt.datetime.now(dt.UTC):%Y-%m-%d}" in caught.value.message
    assert "timedatectl" in caught.value.hint
    assert "simpleenroll" not in server.hits


@pytest.mark.parametrize("date", ["Fri, 31 Dec 9999 23:59:59 -2359", "Fri, 31 Feb 2026 00:00:00 GMT", "soon"])
def test_a_date_that_no_clock_shows_is_passed_over(server: EstServer, state: StateDir, date: str):
    server.date = date

    assert enrol(server.claim, state, now_us())


def test_an_answer_without_end_is_not_read_to_its_end(server: EstServer, state: StateDir):
    server.endless = True

    with pytest.raises(Refused, match="more than 262144 bytes"):
        enrol(server.claim, state, now_us())

    assert files(state) == []


def test_a_server_that_is_not_there_is_told_as_such(state: StateDir, tmp_path: Path):
    server = EstServer(tmp_path, port=1)

    with pytest.raises(Unavailable, match=r"127\.0\.0\.1:1 cannot be reached: connection refused"):
        enrol(server.claim, state, now_us())


def test_a_server_certificate_for_another_name_says_how_to_mend_it(tmp_path: Path, state: StateDir):
    with (
        EstServer(tmp_path, host_in_certificate="other.example").serving() as server,
        pytest.raises(Refused, match="for another name") as caught,
    ):
        enrol(server.claim, state, now_us())

    assert "fleet serve --name 127.0.0.1" in caught.value.hint


def test_an_enrolled_device_is_left_alone_unless_forced(server: EstServer, state: StateDir):
    enrol(server.claim, state, now_us())
    before = state.key.read_bytes()

    with pytest.raises(Misconfigured, match="enrolled already, as freezer-7k3m2q"):
        enrol(server.claim, state, now_us())
    assert state.key.read_bytes() == before

    server.device = "freezer-222222"
    assert enrol(server.claim, state, now_us(), force=True).device_id == "freezer-222222"
    assert state.key.read_bytes() != before


def test_a_certificate_of_another_issuer_is_not_taken(server: EstServer, state: StateDir):
    server.wrong_issuer = True

    with pytest.raises(Refused, match="not issued by the fleet's CA"):
        enrol(server.claim, state, now_us())

    assert files(state) == []


def test_a_busy_server_keeps_the_key_so_that_a_lost_answer_can_be_asked_for_again(server: EstServer, state: StateDir):
    server.problem = (503, {"detail": "too many devices call at once"})
    with pytest.raises(Unavailable, match="too many devices call at once"):
        enrol(server.claim, state, now_us())
    key = (state.root / "key.aside.pem").read_bytes()
    server.problem = None

    enrol(server.claim, state, now_us())

    assert state.key.read_bytes() == key
    assert not (state.root / "key.aside.pem").exists()


def test_a_certificate_is_renewed_for_the_same_key(server: EstServer, state: StateDir):
    first = enrol(server.claim, state, now_us())
    server.life = dt.timedelta(days=200)

    renewed = renew(state, now_us())

    assert renewed == load_identity(state)
    assert renewed.cert_expires_us > first.cert_expires_us
    assert server.public_keys[0] == server.public_keys[1]
    assert files(state) == ["cert.pem", "chain.pem", "identity.toml", "key.pem"]


def test_a_renewal_that_fails_leaves_the_old_certificate(server: EstServer, state: StateDir):
    enrol(server.claim, state, now_us())
    before = state.cert.read_bytes()
    server.wrong_issuer = True

    with pytest.raises(Refused):
        renew(state, now_us())

    assert state.cert.read_bytes() == before
    assert files(state) == ["cert.pem", "chain.pem", "identity.toml", "key.pem"]


def test_a_new_certificate_that_is_not_let_in_does_not_take_the_place_of_the_old(server: EstServer, state: StateDir):
    enrol(server.claim, state, now_us())
    before = {path.name: path.read_bytes() for path in state.root.iterdir()}
    server.takes_renewed = False

    with pytest.raises(Refused, match="this certificate is not known here"):
        renew(state, now_us())

    assert server.hits[-2:] == ["simplereenroll", "cacerts"]
    assert {path.name: path.read_bytes() for path in state.root.iterdir()} == before


def test_the_command_enrols_and_says_what_comes_next(server: EstServer, state: StateDir):
    done = agent("enroll", str(server.claim), "--state", str(state.root))

    assert done.returncode == 0
    assert "Enrolled as freezer-7k3m2q" in done.stdout
    assert f"fleet-agent run --state {state.root}" in done.stdout
    assert done.stderr == ""


def test_a_claim_cut_short_is_a_usage_error_in_one_sentence(state: StateDir, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as left:
        main(["enroll", "fl1/host:8443/abc", "--state", str(state.root)])

    assert left.value.code == 2
    assert "part of it was lost in copying" in capsys.readouterr().err


def test_a_state_directory_that_cannot_be_made_is_told(server: EstServer, tmp_path: Path):
    (tmp_path / "file").write_text("")

    done = agent("enroll", str(server.claim), "--state", str(tmp_path / "file" / "state"))

    assert done.returncode == 1
    assert "cannot be written: Not a directory" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_device_whose_agent_runs_is_not_enrolled_anew(
    server: EstServer, state: StateDir, capsys: pytest.CaptureFixture[str]
):
    enrol(server.claim, state, now_us())

    with held(state.lock), pytest.raises(SystemExit) as left:
        main(["enroll", str(server.claim), "--state", str(state.root), "--force"])

    assert left.value.code == 1
    assert "Stop it first" in capsys.readouterr().err


def test_a_sealed_key_of_before_is_to_be_removed_first(
    server: EstServer, state: StateDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    sealed = tmp_path / "sealed"
    sealed.write_text("")
    monkeypatch.setattr("agent.adapters.enrol.SEALED", sealed)
    monkeypatch.setattr("agent.adapters.enrol.DEFAULT_STATE", state.root)

    with pytest.raises(Misconfigured, match="the service would be given that") as caught:
        enrol(server.claim, state, now_us())

    assert f"sudo rm {sealed}" in caught.value.hint
    assert server.hits == []
    sealed.unlink()
    enrol(server.claim, state, now_us())


def test_a_sealed_key_that_does_not_fit_the_certificate_is_told_with_its_remedy(
    server: EstServer, state: StateDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    enrol(server.claim, state, now_us())
    (tmp_path / "fieldline.key").write_bytes(state.key.read_bytes())
    enrol(server.claim, state, now_us(), force=True)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))

    with pytest.raises(Misconfigured, match="the sealed key /etc/credstore") as caught:
        client_context(load_identity(state))

    assert "sudo rm /etc/credstore.encrypted/fieldline.key" in caught.value.hint


def test_a_full_disk_is_told_with_what_to_do_and_the_same_claim_is_good_afterwards(
    server: EstServer, state: StateDir, monkeypatch: pytest.MonkeyPatch
):
    def full(_fd: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(Misconfigured, match="No space left on device") as caught:
            enrol(server.claim, state, now_us())

    assert caught.value.hint.startswith("Make room on that disk")
    enrol(server.claim, state, now_us())


def agent(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "agent.cli", *args], capture_output=True, text=True, timeout=60, check=False
    )
