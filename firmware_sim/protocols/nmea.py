"""NMEA 0183: GGA and RMC sentences of a GPS receiver, one of each a fix.

    $GPGGA,hhmmss.ss,ddmm.mmmmm,N,dddmm.mmmmm,E,1,satellites,hdop,altitude,M,geoid,M,,*hh CR LF
    $GPRMC,hhmmss.ss,A,ddmm.mmmmm,N,dddmm.mmmmm,E,knots,course,ddmmyy,,,A*hh CR LF

The checksum is the XOR of all bytes between `$` and `*`, in two hex digits. Readings are what the fields say, under
`lat`, `lon` (degrees, south and west negative), `satellites`, `hdop`, `altitude` (m) of GGA, and `lat`, `lon`,
`speed_kn`, `course` of RMC, the board being `<board>.gga` and `<board>.rmc`.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import reduce
from operator import xor

from firmware_sim.protocols.frame import Frame, Number

GEOID_M = 47.0  # height of the geoid over the ellipsoid, about Munich
MINUTE_DECIMALS = 5
KNOT = 1852 / 3600  # m/s


def checksum(body: str) -> int:
    """Return the XOR of what stands between `$` and `*`."""
    return reduce(xor, body.encode("ascii"), 0)


def sentence(body: str) -> bytes:
    """Return a whole sentence around its body."""
    return f"${body}*{checksum(body):02X}\r\n".encode("ascii")


def angle(degrees: float, digits: int, letters: str) -> tuple[str, str, float]:
    """Return an angle as `d…dmm.mmmmm` with `digits` for the degrees, its letter, and the degrees that both stand for.

    `letters` are those of positive and negative angles, as NS.
    """
    scale = 10**MINUTE_DECIMALS
    units = round(abs(degrees) * 60 * scale)
    whole, rest = divmod(units, 60 * scale)
    sign = -1.0 if degrees < 0 else 1.0
    minutes = f"{rest // scale:02d}.{rest % scale:0{MINUTE_DECIMALS}d}"
    return f"{whole:0{digits}d}{minutes}", letters[degrees < 0], sign * (whole + float(minutes) / 60)


class Nmea:
    """Encoder for a board that measures lat, lon, speed (m/s), course, altitude, satellites, hdop, in this order."""

    def __init__(self, board: str) -> None:
        self._board = board

    def encode(self, t_us: int, values: Sequence[float]) -> list[Frame]:
        """Encode one fix as GGA and RMC."""
        lat, lon, speed, course, altitude, satellites, hdop = values
        moment = datetime.fromtimestamp(t_us // 1_000_000, UTC)
        time = f"{moment:%H%M%S}.{t_us % 1_000_000 // 10_000:02d}"
        lat_text, ns, lat_said = angle(lat, 2, "NS")
        lon_text, ew, lon_said = angle(lon, 3, "EW")
        place = f"{lat_text},{ns},{lon_text},{ew}"
        sky = f"{satellites:02.0f},{hdop:.1f},{altitude:.1f}"
        knots, heading = f"{speed / KNOT:.2f}", f"{course % 360:.1f}"
        gga = f"GPGGA,{time},{place},1,{sky},M,{GEOID_M:.1f},M,,"
        rmc = f"GPRMC,{time},A,{place},{knots},{heading},{moment:%d%m%y},,,A"
        where = (("lat", lat_said), ("lon", lon_said))
        seen = (("satellites", int(f"{satellites:.0f}")), ("hdop", float(f"{hdop:.1f}")))
        return [
            self._frame("gga", gga, (*where, *seen, ("altitude", float(f"{altitude:.1f}")))),
            self._frame("rmc", rmc, (*where, ("speed_kn", float(knots)), ("course", float(heading)))),
        ]

    def _frame(self, kind: str, body: str, readings: tuple[tuple[str, Number], ...]) -> Frame:
        data = sentence(body)
        return Frame(data, readings, len(data) // 2, f"{self._board}.{kind}")
