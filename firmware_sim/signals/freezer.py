"""A chest freezer.

Two thermal masses (air with its liner, and the goods), a compressor under a hysteresis thermostat with a minimum rest,
door openings by day, frost and defrosting, an ambient day.

    C_air   dTa/dt = (UA_wall + UA_door [open]) (Tamb - Ta) + UA_goods (Tg - Ta) - Q_cool [on] + Q_heat [defrost]
    C_goods dTg/dt = UA_goods (Ta - Tg)

With the constants below it runs about half of the time, in cycles of some twenty minutes, as a household freezer does.
"""

from dataclasses import dataclass, field
from random import Random

from firmware_sim.signals.model import Ambient, Heating, Quantity, happens, parts

QUANTITIES = (
    Quantity("temp", "Cel", 2),
    Quantity("door", "1", 0),
    Quantity("compressor", "1", 0),
    Quantity("ambient", "Cel", 1),
    Quantity("power", "W", 1),
)
# From -18 °C past -5 °C takes 2.2 s, so that a demo need not wait for thermodynamics; cleared, it falls as fast.
OVERHEAT = Heating("temp", per_s=6.0, most=30.0)

C_AIR = 12_000.0  # J/K, with liner and evaporator
C_GOODS = 180_000.0  # J/K, some 100 kg of frozen goods
UA_WALL = 1.6  # W/K
UA_GOODS = 8.0  # W/K
UA_DOOR = 25.0  # W/K while open
COOLING_W = 160.0  # with a clean evaporator
FROST_LOSS = 0.3  # share of the cooling that a full coat of frost takes
COMPRESSOR_W = 118.0
HEATER_W = 220.0
STANDBY_W = 2.5
ON_ABOVE = -16.5  # °C
OFF_BELOW = -19.5  # °C
REST_S = 180.0  # the compressor may not start against its own pressure
DEFROST_EVERY_S = 8 * 3600.0
DEFROST_END = -9.0  # °C
DEFROST_MOST_S = 900.0
OPENINGS_PER_S = 6 / 3600.0  # by day
FROST_PER_S = 1 / 3600.0  # of open door: an hour of it is a full coat
NOISE = 0.03  # K
PART_S = 5.0


@dataclass(slots=True)
class Freezer:
    """State of a freezer; temperatures in °C, times in seconds."""

    air: float = -18.0
    goods: float = -18.3
    room: Ambient = field(default_factory=Ambient)
    running: bool = False
    rested_s: float = REST_S
    open_s: float = 0.0  # how long the door will still be open
    frost: float = 0.1  # 0 … 1
    since_defrost_s: float = 0.0
    defrost_s: float | None = None  # how long it has been defrosting

    def step(self, dt_s: float, rng: Random) -> tuple[float, ...]:
        """Advance; returns temp, door, compressor, ambient, power."""
        power = STANDBY_W
        ambient = self.room.mean
        for part_s in parts(dt_s, PART_S):
            ambient = self.room.step(part_s, rng)
            self._door(part_s, rng)
            self._control(part_s)
            self._flow(part_s, ambient)
        power += COMPRESSOR_W * (1.0 + 0.004 * (ambient - 22.0)) if self.running else 0.0
        power += HEATER_W if self.defrost_s is not None else 0.0
        power = max(0.0, power + rng.gauss(0.0, 0.4))
        return self.air + rng.gauss(0.0, NOISE), float(self.open_s > 0.0), float(self.running), ambient, power

    def _door(self, dt_s: float, rng: Random) -> None:
        if self.open_s > 0.0:
            self.open_s = max(0.0, self.open_s - dt_s)
            self.frost = min(1.0, self.frost + FROST_PER_S * dt_s)
            return
        by_day = 8 * 3600.0 <= self.room.hour_s < 20 * 3600.0
        if by_day and happens(OPENINGS_PER_S, dt_s, rng):
            self.open_s = rng.uniform(8.0, 45.0)

    def _control(self, dt_s: float) -> None:
        self.since_defrost_s += dt_s
        if self.defrost_s is None and self.since_defrost_s >= DEFROST_EVERY_S:
            self.defrost_s, self.running, self.rested_s = 0.0, False, 0.0
        if self.defrost_s is not None:
            self.defrost_s += dt_s
            self.frost = max(0.0, self.frost - dt_s / DEFROST_MOST_S)
            if self.air >= DEFROST_END or self.defrost_s >= DEFROST_MOST_S:
                self.defrost_s, self.since_defrost_s = None, 0.0
            return
        if self.running:
            self.running = self.air > OFF_BELOW
            self.rested_s = 0.0
        else:
            self.rested_s += dt_s
            self.running = self.air > ON_ABOVE and self.rested_s >= REST_S

    def _flow(self, dt_s: float, ambient: float) -> None:
        conductance = UA_WALL + (UA_DOOR if self.open_s > 0.0 else 0.0)
        into_air_w = conductance * (ambient - self.air) + UA_GOODS * (self.goods - self.air)
        if self.running:
            into_air_w -= COOLING_W * (1.0 - FROST_LOSS * self.frost)
        if self.defrost_s is not None:
            into_air_w += HEATER_W
        into_goods_w = UA_GOODS * (self.air - self.goods)
        self.air += into_air_w * dt_s / C_AIR
        self.goods += into_goods_w * dt_s / C_GOODS
