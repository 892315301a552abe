"""The whole agent on a machine that says 1970, against a whole fleet."""

import sys
import time
from pathlib import Path

from agents import board, running, until
from fleet_process import enrolled, serving

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
