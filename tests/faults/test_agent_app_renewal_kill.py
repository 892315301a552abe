"""A renewal that is cut at each operation on a file: whatever is left, key and certificate fit."""

import json
import shutil
import signal
import ssl
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography import x509
from est_server import EstServer

from agent.adapters.clock import SystemClock
from agent.adapters.enrol import enrol, renew
from agent.settings import StateDir, load_identity

# Dies by SIGKILL at the n-th operation on a file below the state directory; prints how many there were if it lives.
CUT = """
import os, signal, sys
from pathlib import Path
root, at = sys.argv[1], int(sys.argv[2])
seen = 0

def look(event, args):
    global seen
    if event in ("open", "os.rename", "os.remove") and str(args[0]).startswith(root):
        seen += 1
        if seen == at:
            os.kill(os.getpid(), signal.SIGKILL)

from agent.adapters.clock import SystemClock
from agent.adapters.enrol import renew
from agent.settings import StateDir
sys.addaudithook(look)
renew(StateDir(Path(root)), SystemClock().now_us())
print(seen)
"""


def cut(state: StateDir, at: int) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", CUT, str(state.root), str(at)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.timeout(300)
def test_a_renewal_cut_at_any_operation_leaves_a_pair_that_works(tmp_path: Path):
    with EstServer(tmp_path).serving() as server:
        first = StateDir(tmp_path / "first")
        enrol(server.claim, first, SystemClock().now_us())
        old = x509.load_pem_x509_certificate(first.cert.read_bytes())
        whole = StateDir(shutil.copytree(first.root, tmp_path / "whole"))
        operations = int(cut(whole, 0).stdout)
        assert operations > 10

        for at in range(1, operations + 1):
            state = StateDir(shutil.copytree(first.root, tmp_path / f"cut-{at}"))

            assert cut(state, at).returncode == -signal.SIGKILL

            ssl.create_default_context().load_cert_chain(state.cert, state.key)
            left = x509.load_pem_x509_certificate(state.cert.read_bytes())
            assert left == old or left.not_valid_before_utc >= old.not_valid_before_utc
            load_identity(state)
        renewed = renew(state, SystemClock().now_us())  # and the next try goes through
        assert json.dumps(renewed.device_id) in state.identity.read_text()
        assert not [path for path in state.root.iterdir() if "next" in path.name]
