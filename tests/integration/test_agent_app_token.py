"""A device whose private key is in a PKCS#11 token or a TPM 2: the whole agent against a whole fleet."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from agents import board, call, running, until
from est_server import EstServer
from fleet_process import Server
from tokens import soft_hsm, soft_tpm

from agent.adapters import keys
from agent.adapters.clock import SystemClock
from agent.adapters.enrol import enrol
from agent.errors import Misconfigured
from agent.settings import StateDir, load_identity


def token_of(kind: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> AbstractContextManager[str]:
    folder.mkdir()
    return {"pkcs11": soft_hsm, "tpm2": soft_tpm}[kind](folder, monkeypatch)


@pytest.mark.parametrize("kind", ["pkcs11", "tpm2"])
def test_a_device_enrols_syncs_over_both_roads_renews_and_starts_again_with_a_key_that_is_in_no_file(
    fleet_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
):
    state = tmp_path / "state"
    with token_of(kind, tmp_path / kind, monkeypatch) as key:
        claim, device = fleet_server.claim()

        done = call("enroll", claim, "--state", str(state), "--key", key)

        assert done.returncode == 0, done.stderr
        assert f"Enrolled as {device}" in done.stdout
        assert load_identity(StateDir(state)).key == key
        assert "-----BEGIN PKCS#11 PROVIDER URI-----" in (state / "key.pem").read_text()
        assert [path for path in state.rglob("*") if path.is_file() and b"PRIVATE KEY" in path.read_bytes()] == []
        with running(state) as agent:
            until(lambda: agent.status()["sync"]["road"] == "link", "it syncs over the link")
            assert agent.status()["certificate"]["key"] == key
            before = (state / "cert.pem").read_bytes()

            renewed = call("renew", "--state", str(state))  # over the gateway, beside the running agent

            assert renewed.returncode == 0, renewed.stderr
            assert (state / "cert.pem").read_bytes() != before
            found = call("doctor", "--state", str(state)).stdout
            assert "ok    key" in found
            assert "ok    gateway" in found
            agent.stop()
        with running(state) as agent:
            until(lambda: agent.status()["sync"]["last_ack_us"], "it syncs after a restart")


def test_an_agent_whose_token_is_away_measures_and_syncs_once_it_is_back(
    fleet_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    state, config = tmp_path / "state", tmp_path / "first.toml"
    with token_of("pkcs11", tmp_path / "hsm", monkeypatch) as key, board() as port:
        config.write_text(port.config("[agent]\nflush_s = 0.2"))
        claim, _ = fleet_server.claim()
        assert call("enroll", claim, "--state", str(state), "--key", key).returncode == 0
        (tmp_path / "hsm" / "tokens").rename(tmp_path / "away")
        (tmp_path / "hsm" / "tokens").mkdir()
        with running(state, "--config", str(config)) as agent:
            until(lambda: agent.status()["sources"][0]["connected"], "the port is open")
            port.say(5)
            until(lambda: agent.status()["sources"][0]["readings"] == 10, "it measures")
            error = until(lambda: agent.status()["sync"]["error"], "it says what is amiss")
            assert "openssl pkey failed: Could not" in error
            assert "fail  key" in call("doctor", "--state", str(state)).stdout

            (tmp_path / "hsm" / "tokens").rmdir()
            (tmp_path / "away").rename(tmp_path / "hsm" / "tokens")

            until(lambda: agent.status()["sync"]["last_ack_us"], "it syncs with the token back", patience_s=60)


@pytest.fixture
def est(tmp_path: Path) -> Iterator[EstServer]:
    folder = tmp_path / "est"
    folder.mkdir()
    with EstServer(folder).serving() as it:
        yield it


def test_a_machine_without_the_provider_is_told_what_to_install_and_stays_as_it_was(
    est: EstServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    state = StateDir(tmp_path / "state")
    enrol(est.claim, state, SystemClock().now_us())
    before = {path.name: path.read_bytes() for path in state.root.iterdir()}
    monkeypatch.setenv("OPENSSL_MODULES", str(tmp_path))

    with pytest.raises(Misconfigured, match="apt install openssl pkcs11-provider"):
        enrol(est.claim, state, SystemClock().now_us(), force=True, key="pkcs11:object=fieldline")

    assert {path.name: path.read_bytes() for path in state.root.iterdir()} == before


def test_a_device_moves_its_key_into_a_token_and_back_with_a_claim(
    est: EstServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    state, now_us = StateDir(tmp_path / "state"), SystemClock().now_us()
    with token_of("pkcs11", tmp_path / "hsm", monkeypatch) as key:
        enrol(est.claim, state, now_us)
        enrol(est.claim, state, now_us, force=True, key=key)
        in_token = sorted(path.name for path in state.root.iterdir())
        enrol(est.claim, state, now_us, force=True, key=key)
        identity = enrol(est.claim, state, now_us, force=True)

    assert in_token == ["cert.pem", "chain.pem", "identity.toml", "key.cnf", "key.pem"]
    assert est.public_keys[1] == est.public_keys[2]  # the key that is in the token is used again
    assert len(set(est.public_keys)) == 3
    assert (identity.key, state.key_config.exists()) == ("file", False)


def test_a_try_that_was_cut_short_is_taken_up_with_its_key_only_where_that_is_wanted(
    est: EstServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    state, now_us = StateDir(tmp_path / "state"), SystemClock().now_us()
    state.root.mkdir()
    (state.root / "key.aside.pem").write_bytes(keys.make_key())  # of a try with the key in a file
    with token_of("pkcs11", tmp_path / "hsm", monkeypatch) as key:
        identity = enrol(est.claim, state, now_us, key=key)

    assert identity.key == key
    assert b"PROVIDER URI" in state.key.read_bytes()


def test_a_wrong_pin_is_told_and_leaves_nothing(est: EstServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    state = StateDir(tmp_path / "state")
    with token_of("pkcs11", tmp_path / "hsm", monkeypatch) as key:
        (tmp_path / "hsm" / "pin").write_text("999999\n")

        with pytest.raises(Misconfigured, match="its PIN is right"):
            enrol(est.claim, state, SystemClock().now_us(), key=key)

    assert list(state.root.iterdir()) == []
