"""The same readings into the fleet, InfluxDB 1.6 and VictoriaMetrics 1.79, on the same machine in the same run.

    python bench/fleet/beside.py [--seconds 5] [--repeats 3] [--connections 40]

The peers come from Debian (`apt-get install influxdb victoria-metrics`) and get what suits them best: plain HTTP, gzip
line protocol, a line with ten fields for the readings of one moment, kept connections, requests made before the clock
starts. InfluxDB waits for its disk before it answers, VictoriaMetrics does not. The fleet gets batches over mTLS
through its broker, and acks after COMMIT.
"""

import argparse
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from urllib.request import Request, urlopen

from _swarm import middle, serving

from firmware_sim.scenarios.stage import free_ports
from firmware_sim.swarm.course import QUANTITIES, Course

SERIES = 10
SIZES = (200, 1000)  # readings a call
T0_US = 1_780_000_000_000_000
MOST_RATE = 2_500_000  # readings/s for which requests are made beforehand; beyond it they are sent once more
READY_S = 30.0
US = 1_000_000
GZIP = 31
PATH = "/write?db=bench&precision=u"
INFLUX = """reporting-disabled = true
bind-address = "127.0.0.1:0"
[meta]
  dir = "{folder}/meta"
[data]
  dir = "{folder}/data"
  wal-dir = "{folder}/wal"
  query-log-enabled = false
[http]
  bind-address = "127.0.0.1:{port}"
  log-enabled = false
[monitor]
  store-enabled = false
"""


def lines(course: Course, device: int, seq: int) -> bytes:
    """Return one row of a device in line protocol, gzipped."""
    text = []
    for n in range((seq - 1) * course.per_row, seq * course.per_row):
        at = n + device * 37
        fields = ",".join(
            f"{name.partition('.')[2]}={QUANTITIES[s % len(QUANTITIES)].texts[(at + s * 131) % 512]}"
            for s, name in enumerate(course.names)
        )
        text.append(f"board,device=d{device} {fields} {course.t_us(device, T0_US, n)}")
    return zlib.compress("\n".join(text).encode(), 1, GZIP)


def requests(course: Course, connections: int, each: int, path: str) -> list[list[bytes]]:
    """Return so many requests for each connection, whole."""
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Encoding: gzip\r\nContent-Length: "
    return [
        [
            f"{head}{len(body)}\r\n\r\n".encode() + body
            for body in (lines(course, device, seq) for seq in range(1, each + 1))
        ]
        for device in range(connections)
    ]


def drive(port: int, made: Sequence[Sequence[bytes]], seconds: float) -> float:
    """Send as fast as answers come, one request in flight a connection; returns answers a second."""
    epoll = select.epoll()
    sockets = {}
    for number in range(len(made)):
        one = socket.create_connection(("127.0.0.1", port))
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        epoll.register(one, select.EPOLLIN)
        sockets[one.fileno()] = (one, number)
    turns = [0] * len(made)
    answers = 0
    for one, number in sockets.values():
        one.sendall(made[number][0])
    started = time.monotonic()
    while (now := time.monotonic()) - started < seconds:
        for fd, _ in epoll.poll(1):
            one, number = sockets[fd]
            said = one.recv(65_536)
            if not said.startswith(b"HTTP/1.1 204"):
                sys.exit(f"a peer answered {said[:200]!r}")
            answers += 1
            turns[number] += 1
            one.sendall(made[number][turns[number] % len(made[number])])
    for one, _ in sockets.values():
        one.close()
    epoll.close()
    return answers / (now - started)


@contextmanager
def peer(name: str) -> Iterator[int]:
    """Run a peer with an empty database; yields its port."""
    with tempfile.TemporaryDirectory(prefix="fieldline-bench-", dir=Path.cwd(), ignore_cleanup_errors=True) as folder:
        (port,) = free_ports(1)
        if name == "influxdb":
            config = Path(folder) / "influx.conf"
            config.write_text(INFLUX.format(folder=folder, port=port))
            command = ["influxd", "run", "-config", str(config)]
        else:
            command = ["victoria-metrics", f"-storageDataPath={folder}", f"-httpListenAddr=127.0.0.1:{port}"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603 - named above
        try:
            _await(port)
            if name == "influxdb":
                _create(port)
            yield port
        finally:
            process.terminate()
            process.wait(30)


def _create(port: int) -> None:
    """Make InfluxDB's database: it answers before it keeps what it is told."""
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline:
        for query, method in (("CREATE+DATABASE+bench", "POST"), ("SHOW+DATABASES", "GET")):
            with urlopen(Request(f"http://127.0.0.1:{port}/query?q={query}", method=method)) as told:
                said = told.read()
        if b'"bench"' in said:
            return
        time.sleep(0.1)
    sys.exit("InfluxDB did not make its database")


def _await(port: int) -> None:
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            time.sleep(1)  # it listens before it answers
            return
    sys.exit(f"a peer did not come up on port {port}")


def main() -> None:
    """Print all three at each size, and the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--connections", type=int, default=40)
    told = parser.parse_args()
    peers = [name for name, program in (("influxdb", "influxd"), ("victoria-metrics",) * 2) if shutil.which(program)]
    for readings in SIZES:
        course = Course(SERIES, US, readings // SERIES)
        rates: dict[str, list[float]] = {}
        each = int(MOST_RATE * told.seconds / readings / told.connections) + 1
        made = requests(course, told.connections, each, PATH) if peers else []
        for name in peers:
            with peer(name) as port:
                rates[name] = [drive(port, made, told.seconds) * readings for _ in range(told.repeats)]
        premake = max(10, int(1_500_000 * told.seconds / readings / told.connections))
        options = (
            *("--mode", "burst", "--devices", str(told.connections), "--series", str(SERIES), "--every", "1s"),
            *("--per-row", str(course.per_row), "--rows", "1", "--premake", str(premake), "--road", "link"),
            *("--for", f"{told.seconds}s"),
        )
        with serving("sqlite") as fleet:
            reports = [fleet.swarm(*options) for _ in range(told.repeats)]
        ours = [report["marks"]["readings_a_s"] for report in reports]
        print(f"{readings} readings a call, {told.connections} connections, readings/s:")
        print(f"  fleet, SQLite, mTLS, fsync  {middle(ours)}")
        for name, found in rates.items():
            print(f"  {name:27} {middle(found)}; the fleet has {median(ours) / median(found):.2f} x that")
    if missing := {"influxdb", "victoria-metrics"} - set(peers):
        print(f"not installed, so not measured: {', '.join(sorted(missing))}")


if __name__ == "__main__":
    main()
