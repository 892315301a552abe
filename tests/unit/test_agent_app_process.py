"""What the C library is told of memory, and what the kernel says of it."""

import subprocess
import sys

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
    command = [sys.executable, "-c", THREADS.format(before=before)]
    return int(subprocess.run(command, capture_output=True, check=True, text=True, timeout=60).stdout)


def test_threads_of_the_agent_have_no_arenas_of_their_own():
    assert arenas("") > 0  # or the C library has changed, and the next line means nothing
    assert arenas("from agent.adapters.process import share_one_arena; share_one_arena()") == 0
