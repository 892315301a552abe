"""The whole agent on a metered link, against a whole fleet: what waits, what goes, and what both sides say of it."""

from pathlib import Path

from agents import board, call, running, until
from fleet_process import enrolled, serving

METERED = """
[[rule]]
name = "too-warm"
series = "board.temp"
above = -5.0
hold_s = 0
severity = "critical"
[agent]
flush_s = 0.2
bytes_per_day = 5_000_000
"""
QUIET = 'quiet_hours = ["00:00-12:00", "12:00-00:00"]\n'


def test_in_quiet_hours_readings_wait_an_alarm_goes_and_the_device_stays_online(tmp_path: Path):
    state = tmp_path / "state"
    with serving(tmp_path / "data") as server, board() as port:
        device = enrolled(server, state)
        state.joinpath("agent.toml").write_text(f"[agent]\n{QUIET}")
        first = tmp_path / "first.toml"
        first.write_text(port.config(METERED))
        with running(state, "--config", str(first)) as agent:
            until(lambda: (agent.status()["metering"] or {}).get("saving") == "quiet hours", "it is quiet")
            until(lambda: agent.status()["sources"][0]["connected"], "the port is open")
            port.say(20)
            until(lambda: agent.status()["buffer"]["readings"] >= 40, "the readings wait")
            port.say(1, temp=4.0)
            until(lambda: server.get(f"/alarms?device={device}")["items"], "the alarm is raised")
            told = until(
                lambda: ((server.get(f"/devices/{device}")["health"] or {}).get("metering") or {}).get("saving"),
                "the fleet is told",
            )
            found = server.get(f"/devices/{device}")
            readings = server.get(f"/devices/{device}/readings?series=board.n&limit=1000")["items"]
            shown = call("status", "--state", str(state)).stdout
            config = server.post("/configs", device=device, toml=port.config(METERED + "# still metered\n"))
            until(lambda: agent.status()["config"]["applied"] == config["revision"], "a config comes through")

        assert told == "quiet hours"
        assert found["presence"] == "online"
        assert readings == []
        assert "READINGS ARE HELD BACK, alarms go: quiet hours" in shown
        assert "set here: agent.quiet_hours" in shown

        state.joinpath("agent.toml").unlink()
        with running(state, "--config", str(first)) as agent:
            until(lambda: agent.status()["buffer"]["rows"] == 0, "all has gone")
            assert 0 < agent.status()["metering"]["spent_bytes"] < 200_000
        readings = server.get(f"/devices/{device}/readings?series=board.n&limit=1000")["items"]
        assert [it["v"] for it in readings] == list(range(21))
