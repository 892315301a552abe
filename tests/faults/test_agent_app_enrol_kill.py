"""An enrolment that is cut at each change to a file: it came to its end, or the same claim brings it there."""

import ssl
from pathlib import Path

import pytest
from cuts import cut_everywhere
from est_server import EstServer

from agent.adapters.clock import SystemClock
from agent.adapters.enrol import enrol
from agent.errors import Misconfigured
from agent.settings import StateDir, load_identity
from agent.wire.claim import Claim

pytestmark = pytest.mark.timeout(300)
ANOTHER = 1000  # a claim that no cut has


def join(state: StateDir, claim: Claim) -> None:
    enrol(claim, state, SystemClock().now_us(), force=True)


def names(state: StateDir) -> list[str]:
    return sorted(path.name for path in state.root.iterdir())


def enrolled_as(state: StateDir) -> str:
    """Return who the device is; "" for nobody. Whoever it is has a key and a certificate that fit."""
    try:
        identity = load_identity(state)
    except Misconfigured:
        return ""
    ssl.create_default_context().load_cert_chain(state.cert, state.key)
    return identity.device_id


def test_an_enrolment_cut_at_any_change_has_ended_or_is_ended_by_the_same_claim(tmp_path: Path):
    with EstServer(tmp_path, used={}).serving() as server:
        left_behind = cut_everywhere(tmp_path / "none", tmp_path, str(server.claim))

        assert len(left_behind) > 10
        for number, state in enumerate(map(StateDir, left_behind), start=1):
            if enrolled_as(state) != server.device:
                join(state, server.claim_of(number))
            assert enrolled_as(state) == server.device
        ended = [state for state in map(StateDir, left_behind) if "key.aside.pem" in names(state)]
        assert ended
        for number, state in enumerate(ended, start=ANOTHER):
            join(state, server.claim_of(number))
            assert server.public_keys[-1] not in server.public_keys[:-1]  # not the one that is left behind
            assert names(state) == ["cert.pem", "chain.pem", "identity.toml", "key.pem"]


def test_one_anew_that_was_cut_leaves_the_old_device_or_is_ended_by_the_same_claim(tmp_path: Path):
    with EstServer(tmp_path, used={}).serving() as server:
        first = StateDir(tmp_path / "first")
        join(first, server.claim_of(0))
        old, server.device = server.device, "freezer-222222"

        left_behind = cut_everywhere(first.root, tmp_path, str(server.claim), force=True)

        assert len(left_behind) > 10
        for number, state in enumerate(map(StateDir, left_behind), start=1):
            assert enrolled_as(state) in {old, "", server.device}
            if enrolled_as(state) != server.device:
                join(state, server.claim_of(number))
            assert enrolled_as(state) == server.device
