"""The whole agent on a machine that says 1970, against a whole fleet."""

import sys
import time
from pathlib import Path

from agents import board, running, until
from est_server import EstServer
from fleet_process import enrolled, serving

from agent.adapters.enrol import enrol
from agent.settings import StateDir
from firmware_sim.board import Board

IN_1970 = """
import agent.cli.run
from agent.adapters.clock import SystemClock
from agent.wire.messages import Clock

class In1970(SystemClock):
    def now_us(self):
        return int(self.mono_s() * 1_000_000)

    def state(self):
        return Clock.UNKNOWN

agent.cli.run.SystemClock = In1970
agent.cli.main()
"""
PROGRAM = (sys.executable, "-c", IN_1970)
S = 1_000_000


def test_a_machine_in_1970_is_dated_rightly_in_the_fleet(tmp_path: Path):
    with serving(tmp_path / "fleet") as server, board() as port:
        device = enrolled(server, tmp_path / "state")
        first = tmp_path / "first.toml"
        first.write_text(port.config("[agent]\nflush_s = 0.2"))
        began_us = time.time_ns() // 1000
        with running(tmp_path / "state", "--config", str(first), program=PROGRAM) as agent:
            until(lambda: agent.status()["sources"][0]["connected"], "the port is open")
            port.say(50)
            until(lambda: agent.status()["clock"]["state"] == "server", "the fleet has told the time")
            port.say(50)
            readings = until(
                lambda: (
                    (found := server.get(f"/devices/{device}/readings?series=board.n&limit=1000")["items"])[99:]
                    and found
                ),
                "all is in the fleet",
            )
            clock = agent.status()["clock"]
            events = until(
                lambda: [
                    it
                    for it in server.get(f"/events?device={device}&limit=500")["items"]
                    if it["kind"] in {"clock.set", "agent.started"}
                ][1:],
                "the events are in the fleet",
            )

    ended_us = time.time_ns() // 1000
    times = [it["t_us"] for it in readings]
    assert [it["v"] for it in readings] == list(range(100))
    assert times == sorted(times)
    assert began_us - S < times[0] <= times[-1] < ended_us
    assert abs(clock["machine_offset_s"]) > 365 * 86_400
    assert abs(clock["server_offset_s"]) < 1
    assert events


def test_a_machine_in_1970_without_a_network_learns_the_time_from_its_receiver(tmp_path: Path):
    state = StateDir(tmp_path / "state")
    with EstServer(tmp_path).serving() as server:
        enrol(server.claim, state, time.time_ns() // 1000)
    first = tmp_path / "first.toml"
    first.write_text(f'[[source]]\nname = "gps"\nport = "{tmp_path / "tty"}"\nprotocol = "nmea"\n')

    with (
        Board("tracker", tmp_path / "tty", rate=5),
        running(state.root, "--config", str(first), program=PROGRAM) as agent,
    ):
        status = until(lambda: (it := agent.status())["clock"]["state"] == "gnss" and it, "the receiver is believed")
        now_us = time.time_ns() // 1000

    (witness,) = status["clock"]["witnesses"]
    assert witness["source"] == "gnss"
    assert abs(now_us / S + status["clock"]["machine_offset_s"] - time.clock_gettime(time.CLOCK_BOOTTIME)) < 3
    assert now_us - 5 * S < max(it["t_us"] for it in status["latest"]) < now_us + S
