"""NMEA 0183: sentences as receivers send them."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.config import parse_config
from agent.ports import Emit, Fault, PortSettings, Time
from agent.protocols import find, nmea

GGA = "GPGGA,123519,4807.038,N,01131.000,E,1,08,0.9,545.4,M,46.9,M,,"
RMC = "GPRMC,123519,A,4807.038,N,01131.000,E,022.4,084.4,230394,003.1,W"


def sentence(body: str) -> bytes:
    total = 0
    for byte in body.encode():
        total ^= byte
    return f"${body}*{total:02X}\r\n".encode()


def receiver(table: str = "") -> nmea.Nmea:
    text = f'[[source]]\nname = "gps"\nport = "/dev/x"\nprotocol = "nmea"\n[source.nmea]\n{table}'
    options = parse_config(text, find).sources[0].options
    assert isinstance(options, nmea.NmeaOptions)
    found = nmea.open(options, PortSettings("/dev/x"))
    found.opened(0.0)
    return found


def read(data: bytes, table: str = "", now_s: float = 1.0) -> list[Any]:
    return [
        {name: value for name, _, value in action.values} if isinstance(action, Emit) else "fault"
        for action in receiver(table).feed(data, now_s)
        if not isinstance(action, Time)
    ]


def times(*bodies: str, table: str = "", every_s: float = 1.0) -> list[str | None]:
    """Return what each sentence told of the time, as ISO 8601."""
    it, found = receiver(table), []
    for i, body in enumerate(bodies):
        told = [action for action in it.feed(sentence(body), i * every_s) if isinstance(action, Time)]
        found.append(datetime.fromtimestamp(told[0].utc_us / 1e6, UTC).isoformat() if told else None)
    return found


def test_gga_as_in_the_books():
    (action,) = receiver().feed(b"$GPGGA,123519,4807.038,N,01131.000,E,1,08,0.9,545.4,M,46.9,M,,*47\r\n", 1.0)

    assert action == Emit(
        (
            ("lat", "deg", 48.1173),
            ("lon", "deg", 11.51666667),
            ("alt", "m", 545.4),
            ("fix", "1", 1),
            ("satellites", "1", 8),
            ("hdop", "1", 0.9),
        ),
        1.0,
    )


def test_rmc_gives_speed_and_course_and_leaves_the_position_to_gga():
    assert read(sentence(GGA) + sentence(RMC))[1] == {"speed": 22.4, "course": 84.4}


def test_rmc_gives_the_position_where_no_gga_comes():
    (values,) = read(sentence(RMC), now_s=11.0)

    assert (values["lat"], values["lon"]) == (48.1173, 11.51666667)


def test_south_and_west_are_negative_and_any_talker_is_heard():
    (values,) = read(sentence("GNGGA,1,3351.5,S,07039.25,W,4,12,0.7,520.1,M,,M,,"))

    assert (values["lat"], values["lon"], values["fix"]) == (-33.85833333, -70.65416667, 4)


def test_without_a_fix_the_values_are_missing_not_old():
    gga, rmc = read(sentence("GPGGA,1,,,,,0,00,99.99,,M,,M,,") + sentence("GPRMC,1,V,,,,,,,230394,,"))

    assert gga == {"lat": None, "lon": None, "alt": None, "fix": 0, "satellites": 0, "hdop": None}
    assert rmc == {"speed": None, "course": None}


@pytest.mark.parametrize(
    "damaged",
    [
        sentence(GGA).replace(b"545", b"546"),
        sentence(GGA).replace(b"*", b""),
        sentence(GGA)[:30] + b"\r\n",
        sentence(GGA)[10:],
        sentence("GPGGA,1"),
        sentence("GPGGA,123519,9907.038,N,01131.000,E,1,08,0.9,545.4,M,46.9,M,,"),
        sentence("GPGGA,123519,4860.000,N,01131.000,E,1,08,0.9,545.4,M,46.9,M,,"),
        sentence("GPGGA,123519,4807.038,X,01131.000,E,1,08,0.9,545.4,M,46.9,M,,"),
        sentence("GPGGA,123519,4807.038,N,01131.000,E,1,08,abc,545.4,M,46.9,M,,"),
        b"$" + b"x" * 300 + b"\r\n",
    ],
)
def test_what_is_damaged_is_a_fault_and_the_next_sentence_counts(damaged: bytes):
    assert [isinstance(value, dict) for value in read(damaged + sentence(RMC))] == [False, True]


def test_other_sentences_are_passed_over():
    assert read(sentence("GPGSV,3,1,11,,,,") + sentence("PUBX,00,GGA") + b"!AIVDM,1,1,,A,x,0*5C\r\n\r\n") == []


def test_gsa_and_vtg_where_they_are_asked_for():
    table = "gsa = true\nvtg = true\nrmc = false"

    gsa, vtg = read(sentence("GNGSA,A,3,1,2,,,,,,,,,,,1.8,0.9,1.5") + sentence("GPVTG,54.7,T,,M,5.5,N,10.2,K"), table)

    assert gsa == {"fix_mode": 3, "pdop": 1.8, "vdop": 1.5}
    assert vtg == {"speed": 5.5, "course": 54.7}


def test_two_sentences_that_give_the_same_are_a_mistake():
    with pytest.raises(ValueError, match=r"source\[0\]\.nmea\.vtg: rmc gives speed and course as well"):
        receiver("vtg = true")


@given(st.lists(st.sampled_from([sentence(GGA), sentence(RMC), b"$", b"*47"]) | st.binary(max_size=60), max_size=20))
def test_garbage_never_raises_and_a_byte_at_a_time_gives_the_same(pieces: list[bytes]):
    data = b"".join(pieces)
    at_once = [action for action in receiver().feed(data, 1.0) if isinstance(action, Emit)]
    slowly = receiver()

    found = [action for i in range(len(data)) for action in slowly.feed(data[i : i + 1], 1.0)]

    assert all(isinstance(action, Emit | Fault | Time) for action in found)
    assert [a.values for a in found if isinstance(a, Emit)] == [a.values for a in at_once]


# The time.

NOW = "GPRMC,093015.25,A,4807.038,N,01131.000,E,0.0,0.0,221126,,,A"
ZDA = "GPZDA,093015.00,22,11,2026,00,00"


def test_rmc_with_a_fix_tells_the_time_and_when_it_began_to_say_so():
    it = receiver()
    it.feed(sentence(NOW)[:5], 3.0)

    _, time = it.feed(sentence(NOW)[5:], 3.5)

    assert time == Time(1_795_339_815_250_000, 3.0)


def test_an_rmc_of_before_nmea_2_3_has_no_mode_and_tells_the_time_too():
    assert times(RMC, "GPRMC,093015,A,,,,,0.0,0.0,221126") == ["1994-03-23T12:35:19+00:00", "2026-11-22T09:30:15+00:00"]


@pytest.mark.parametrize(
    "body",
    [
        NOW.replace(",A,4807", ",V,4807"),  # no fix
        *(NOW[:-1] + mode for mode in "EMNS"),
        NOW.replace("093015.25", ""),
        NOW.replace("093015.25", "093060.00"),  # a leap second
        NOW.replace("093015.25", "243015.00"),
        NOW.replace("093015.25", "09301"),
        NOW.replace("093015.25", "0930-1.0"),
        NOW.replace("093015.25", "093015.1234567890"),
        NOW.replace("221126", ""),
        NOW.replace("221126", "310226"),
        NOW.replace("221126", "000026"),
        NOW.replace("221126", "2211٢٦"),
        ZDA,  # says nothing of a fix
        "PRMC,093015,A,,,,,0.0,0.0,221126",
    ],
)
def test_what_is_no_time_or_without_a_fix_tells_none(body: str):
    assert times(body) == [None]


def test_zda_tells_the_time_while_another_sentence_has_told_of_a_fix():
    lost = GGA.replace(",E,1,", ",E,0,")
    told = "2026-11-22T09:30:15+00:00"

    assert times(ZDA, GGA, ZDA, lost, ZDA, NOW, ZDA)[::2] == [None, told, None, told]
    assert times(GGA, ZDA, every_s=11) == [None, None]


def test_the_time_is_told_also_where_the_values_are_switched_off_and_not_where_it_is_not_wanted():
    assert times(NOW, table="rmc = false") != [None]
    assert times(NOW, table="time = false") == [None]
    assert times(NOW, table="rmc = false\ntime = false") == [None]


def test_without_a_checksum_no_time_is_told():
    actions = receiver("checksum = false").feed(f"${NOW}\r\n".encode(), 1.0)

    assert [type(action) for action in actions] == [Emit]
