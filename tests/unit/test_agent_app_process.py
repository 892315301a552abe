"""What the C library is told of memory, and what the kernel says of it."""

import gc
import subprocess
import sys

import pytest
from cycles import await_collected

from agent.adapters import process
from agent.adapters.clock import SystemClock

THREADS = """
import threading
{before}
hold = threading.Barrier(9)
kept = []
def work():
    kept.append([bytes(600) for _ in range(2000)])
    hold.wait()
threads = [threading.Thread(target=work) for _ in range(8)]
[thread.start() for thread in threads]
hold.wait()
arenas = 0
for line in open("/proc/self/maps"):
    first, last = (int(end, 16) for end in line.split()[0].split("-"))
    arenas += line.split()[1] == "---p" and 32 << 20 < last - first < 64 << 20
print(arenas)
[thread.join() for thread in threads]
"""


def arenas(before: str) -> int:
    return printed(THREADS.format(before=before))


def printed(program: str) -> int:
    command = [sys.executable, "-c", program]
    return int(subprocess.run(command, capture_output=True, check=True, text=True, timeout=60).stdout)


def test_threads_of_the_agent_have_no_arenas_of_their_own():
    assert arenas("") > 0  # or the C library has changed, and the next line means nothing
    assert arenas("from agent.adapters.process import share_one_arena; share_one_arena()") == 0


def test_what_a_lost_connection_leaves_in_cycles_is_collected_though_nothing_new_is_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(process, "COLLECT_S", 0.01)
    await_collected(process.collect_garbage)


def test_what_is_asked_each_minute_makes_no_new_types():
    clock = SystemClock()
    gc.collect()
    gc.disable()
    try:
        before = sum(isinstance(one, type) for one in gc.get_objects())
        for _ in range(50):
            clock.state()
        assert sum(isinstance(one, type) for one in gc.get_objects()) == before
    finally:
        gc.enable()


def test_imports_are_kept_out_of_collections():
    count = "import gc; import agent.app; {}gc.collect(); print(len(gc.get_objects()))"
    spared = count.format("from agent.adapters.process import spare_imports; spare_imports(); ")
    assert printed(spared) * 10 < printed(count.format(""))
