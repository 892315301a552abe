"""A receiver's own words, recorded: what is read of them is what gpsd reads of them."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from agent.core.config import parse_config
from agent.ports import Action, Emit, Fault, PortSettings, Time
from agent.protocols import find, nmea

RECORDED = Path(__file__).parents[1] / "vectors" / "nmea" / "bu353-glonass.nmea"
CONFIG = """[[source]]
name = "gps"
port = "/dev/x"
protocol = "nmea"
[source.nmea]
gsa = true
"""
KNOT = 1852 / 3600  # m/s
GPSD = {  # second: lat and lon in degrees, altitude above the sea in m, speed in m/s, track in degrees; gpsd's TPV
    12: (55.686593333, 37.621461667, 66.2, 0.268, 301.26),
    13: (55.686598333, 37.621490000, 66.2, 0.237, 308.99),
    14: (55.686601667, 37.621513333, 66.2, 0.211, 320.05),
    15: (55.686608333, 37.621538333, 66.2, 0.201, 332.00),
    18: (55.686618333, 37.621556667, 66.2, 0.201, 345.22),
    19: (55.686621667, 37.621556667, 66.2, 0.206, 342.94),
}


def read(size: int) -> list[Action]:
    """Return what is made of the recording when it comes in pieces of so many bytes."""
    options = parse_config(CONFIG, find).sources[0].options
    assert isinstance(options, nmea.NmeaOptions)
    it = nmea.open(options, PortSettings("/dev/x"))
    it.opened(0.0)
    data = RECORDED.read_bytes().replace(b"\n", b"\r\n")
    return [action for at in range(0, len(data), size) for action in it.feed(data[at : at + size], 1.0 + at / 480)]


def seconds(actions: list[Action]) -> dict[int, dict[str, object]]:
    """Return the last value of each quantity in each second; a second ends with the time that RMC tells, or without."""
    found: dict[int, dict[str, object]] = {}
    values: dict[str, object] = {}
    for action in actions:
        if isinstance(action, Emit):
            values |= {name: value for name, _, value in action.values}
        elif isinstance(action, Time):
            found.setdefault(datetime.fromtimestamp(action.utc_us / 1e6, UTC).second, dict(values))
    return found


@pytest.mark.parametrize("size", [1, 7, 80, 100_000])
def test_a_recorded_receiver_is_read_as_gpsd_reads_it(size: int):
    found = seconds(read(size))

    for second, (lat, lon, alt, speed, track) in GPSD.items():
        seen = found[second]
        assert seen["lat"] == pytest.approx(lat, abs=1e-8)
        assert seen["lon"] == pytest.approx(lon, abs=1e-8)
        assert seen["alt"] == alt
        assert seen["course"] == track
        assert float(str(seen["speed"])) * KNOT == pytest.approx(speed, abs=0.0006)


def test_its_talkers_are_one_receiver_and_no_sentence_is_a_fault():
    actions = read(100_000)

    assert not [action for action in actions if isinstance(action, Fault)]
    times = [datetime.fromtimestamp(one.utc_us / 1e6, UTC) for one in actions if isinstance(one, Time)]
    assert {f"{time:%Y-%m-%d}" for time in times} == {"2014-05-26"}


def test_where_it_loses_its_fix_its_values_are_missing_and_it_tells_no_time():
    actions = read(100_000)
    last = {name: value for action in actions if isinstance(action, Emit) for name, _, value in action.values}

    assert [last[name] for name in ("lat", "lon", "alt", "speed", "course")] == [None] * 5
    assert last["fix"] == 0
    assert 20 not in seconds(actions)
