"""A renewal that is cut at each change to a file: whatever is left, key and certificate fit."""

import json
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cuts import cut_everywhere
from est_server import EstServer

from agent.adapters.clock import SystemClock
from agent.adapters.enrol import enrol, renew
from agent.settings import StateDir, load_identity


@pytest.mark.timeout(300)
def test_a_renewal_cut_at_any_change_leaves_a_pair_that_works(tmp_path: Path):
    with EstServer(tmp_path).serving() as server:
        first = StateDir(tmp_path / "first")
        enrol(server.claim, first, SystemClock().now_us())
        old = x509.load_pem_x509_certificate(first.cert.read_bytes())

        left_behind = cut_everywhere(first.root, tmp_path)

        assert len(left_behind) > 5
        for state in map(StateDir, left_behind):
            ssl.create_default_context().load_cert_chain(state.cert, state.key)
            left = x509.load_pem_x509_certificate(state.cert.read_bytes())
            assert left == old or left.not_valid_before_utc >= old.not_valid_before_utc
            load_identity(state)
        renewed = renew(state, SystemClock().now_us())  # and the next try goes through
        assert json.dumps(renewed.device_id) in state.identity.read_text()
        assert not [path for path in state.root.iterdir() if "next" in path.name]
