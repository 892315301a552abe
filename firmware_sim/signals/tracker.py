"""A GPS receiver in a delivery van.

The van drives a closed round of streets in Munich, brakes for corners, waits at some of them, and accelerates as vans
do; the fix scatters by some metres with a memory, as GPS errors do.

Distances are small: the earth is taken as flat about the van, a degree of latitude being 111,320 m.
"""

import math
from dataclasses import dataclass, field
from random import Random

from firmware_sim.signals.model import Quantity, Wander, parts

QUANTITIES = (
    Quantity("lat", "deg", 6),
    Quantity("lon", "deg", 6),
    Quantity("speed", "m/s", 2),
    Quantity("course", "deg", 1),
    Quantity("altitude", "m", 1),
    Quantity("satellites", "1", 0),
    Quantity("hdop", "1", 1),
)

ROUTE = (
    (48.13714, 11.57540),  # Marienplatz
    (48.13910, 11.56560),  # Karlsplatz
    (48.14010, 11.55830),  # Hauptbahnhof
    (48.14560, 11.55800),  # Stiglmaierplatz
    (48.14830, 11.56790),  # Pinakotheken
    (48.15190, 11.58190),  # Universität
    (48.14280, 11.57770),  # Odeonsplatz
    (48.13510, 11.58190),  # Isartor
)
DEGREE_M = 111_320.0
CRUISE = 12.5  # m/s
CORNER = 4.0  # m/s
ACCELERATION = 1.2  # m/s²
BRAKING = 1.8  # m/s²
STOP_CHANCE = 0.5
STOP_S = (5.0, 40.0)
PART_S = 0.5


@dataclass(slots=True)
class Tracker:
    """State of the van: which leg of the route, how far along it in m, speed in m/s, how long it still waits in s."""

    leg: int = 0
    along_m: float = 0.0
    speed: float = 0.0
    wait_s: float = 3.0
    course: float = 0.0
    stop_ahead: bool = True
    north: Wander = field(default_factory=lambda: Wander(2.0, 60.0))
    east: Wander = field(default_factory=lambda: Wander(2.0, 60.0))
    height: Wander = field(default_factory=lambda: Wander(4.0, 90.0))
    sky: Wander = field(default_factory=lambda: Wander(1.5, 120.0))

    def step(self, dt_s: float, rng: Random) -> tuple[float, ...]:
        """Advance; returns lat, lon, speed, course, altitude, satellites, hdop."""
        for part_s in parts(dt_s, PART_S):
            self._drive(part_s, rng)
        (lat, lon), east_m, north_m, length_m = self._leg()
        share = self.along_m / length_m
        if self.speed > 0.0:
            self.course = math.degrees(math.atan2(east_m, north_m)) % 360.0
        north = share * north_m + self.north.step(dt_s, rng)
        east = share * east_m + self.east.step(dt_s, rng)
        satellites = min(12, max(5, round(9 + self.sky.step(dt_s, rng))))
        return (
            lat + north / DEGREE_M,
            lon + east / (DEGREE_M * math.cos(math.radians(lat))),
            self.speed,
            self.course,
            519.0 + self.height.step(dt_s, rng),
            satellites,
            7.2 / satellites,
        )

    def _leg(self) -> tuple[tuple[float, float], float, float, float]:
        """Return where the leg begins, how far it leads east and north, and its length, in m."""
        start, end = ROUTE[self.leg], ROUTE[(self.leg + 1) % len(ROUTE)]
        north_m = (end[0] - start[0]) * DEGREE_M
        east_m = (end[1] - start[1]) * DEGREE_M * math.cos(math.radians(start[0]))
        return start, east_m, north_m, math.hypot(north_m, east_m)

    def _drive(self, dt_s: float, rng: Random) -> None:
        if self.wait_s > 0.0:
            self.wait_s = max(0.0, self.wait_s - dt_s)
            self.speed = 0.0
            return
        length_m = self._leg()[3]
        left_m = length_m - self.along_m
        corner = 0.5 if self.stop_ahead else CORNER
        allowed = math.sqrt(corner**2 + 2 * BRAKING * left_m)
        self.speed = min(CRUISE, allowed, self.speed + ACCELERATION * dt_s)
        self.along_m += self.speed * dt_s
        if self.along_m >= length_m:
            self.along_m -= length_m
            self.leg = (self.leg + 1) % len(ROUTE)
            if self.stop_ahead:
                self.wait_s = rng.uniform(*STOP_S)
            self.stop_ahead = rng.random() < STOP_CHANCE
