"""A site that lets nothing out but through its proxy: enrolment, sync, renewal and the doctor's questions."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from agents import call, running, until
from est_server import EstServer
from fleet_process import Server
from proxies import Proxy

from agent.adapters.clock import SystemClock
from agent.adapters.enrol import enrol, renew
from agent.adapters.network import check_network
from agent.core.finding import Level
from agent.errors import Unavailable
from agent.settings import StateDir, load_identity


@pytest.fixture
def est(tmp_path: Path) -> Iterator[EstServer]:
    folder = tmp_path / "est"
    folder.mkdir()
    with EstServer(folder).serving() as it:
        yield it


def now_us() -> int:
    return SystemClock().now_us()


def state_with(folder: Path, proxy: str) -> StateDir:
    state = StateDir(folder / "state")
    state.root.mkdir(exist_ok=True)
    state.local.write_text(f'proxy = "{proxy}"\n')
    return state


def test_the_whole_life_of_a_device_goes_through_the_proxy_of_its_site(fleet_server: Server, tmp_path: Path):
    with Proxy(user="machine:s%20crt").serving() as proxy:
        claim, device = fleet_server.claim()
        gateway = claim.split("/")[1]
        proxy.user, proxy.allowed = "machine:s crt", gateway
        state = state_with(tmp_path, f"http://machine:s%20crt@127.0.0.1:{proxy.port}")

        assert f"Enrolled as {device}" in call("enroll", claim, "--state", str(state.root)).stdout
        enrolled_by = len(proxy.opened)
        with running(state.root) as agent:
            until(lambda: agent.status()["sync"]["last_ack_us"], "it syncs")
            assert agent.status()["sync"]["proxy"] == proxy.bare_url
            shown = call("status", "--state", str(state.root)).stdout
            before = len(proxy.opened)
            renewed = call("renew", "--state", str(state.root))
            renewed_by = len(proxy.opened) - before
            found = call("doctor", "--state", str(state.root)).stdout

    assert enrolled_by == 2  # its CA; its certificate
    assert renewed.returncode == 0, renewed.stderr
    assert renewed_by >= 2  # its certificate; trying it
    assert set(proxy.opened) == {gateway}
    assert f"through the proxy {proxy.bare_url}; the link takes none and is tried without it" in shown
    assert "s crt" not in shown + found
    assert f"ok    proxy        {proxy.bare_url} of agent.toml is there" in found
    assert "ok    gateway" in found


@pytest.mark.parametrize(
    ("proxy", "answer", "do"),
    [
        (Proxy("a:b"), "407 Proxy Authentication Required", 'proxy = "http://USER:PASSWORD@HOST:PORT" in agent.toml'),
        (Proxy(allowed="elsewhere:443"), "403 Forbidden", "Ask for CONNECT to the gateway's host and port"),
    ],
    ids=["407", "403"],
)
def test_a_proxy_that_turns_the_device_away_is_told_with_what_to_do(
    est: EstServer, tmp_path: Path, proxy: Proxy, answer: str, do: str
):
    with proxy.serving():
        state = state_with(tmp_path, proxy.bare_url)

        with pytest.raises(Unavailable) as caught:
            enrol(est.claim, state, now_us())
        state.local.unlink()
        identity = enrol(est.claim, state, now_us())
        found = {it.check: it for it in check_network(identity, 0, {}, proxy.bare_url)}

    assert f"The proxy does not let this device through: {answer}. " in caught.value.hint
    assert do in caught.value.hint
    assert found["gateway"].level is Level.FAIL
    assert caught.value.hint == found["gateway"].do
    assert proxy.opened == []


def test_a_proxy_that_is_not_there_is_told_as_the_cause(est: EstServer, tmp_path: Path):
    state = state_with(tmp_path, "http://127.0.0.1:1")

    with pytest.raises(Unavailable, match="cannot be reached: connection refused"):
        enrol(est.claim, state, now_us())
    state.local.unlink()
    identity = enrol(est.claim, state, now_us())
    found = list(check_network(identity, 0, {}, "http://127.0.0.1:1"))

    assert [(it.check, it.level) for it in found] == [("proxy", Level.FAIL)]


def test_a_link_that_cannot_be_had_beside_a_proxy_is_no_failure(est: EstServer, tmp_path: Path):
    identity = enrol(est.claim, StateDir(tmp_path / "state"), now_us())
    with Proxy().serving() as proxy:
        found = {it.check: it.level for it in check_network(identity, 1, {}, proxy.url)}

    assert found == {"proxy": Level.OK, "gateway": Level.OK, "link": Level.WARN}


def test_a_proxy_of_the_environment_that_nobody_can_use_is_an_error_and_no_crash(
    est: EstServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    state = StateDir(tmp_path / "state")
    enrol(est.claim, state, now_us())
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:1080")

    with pytest.raises(Unavailable, match="that HTTPS_PROXY or ALL_PROXY names cannot be used"):
        renew(state, now_us())

    assert load_identity(state).device_id == est.device
