"""An electricity meter of a house.

Appliances come and go; the voltage sags with the load and wanders with the grid; the current follows from both; the
energy counter integrates the power that the meter shows.
"""

from dataclasses import dataclass, field
from random import Random

from firmware_sim.signals.model import DAY_S, Quantity, Wander, happens, parts

QUANTITIES = (
    Quantity("voltage", "V", 1),
    Quantity("current", "A", 3),
    Quantity("power", "W", 1),
    Quantity("energy", "kW.h", 3),
    Quantity("frequency", "Hz", 3),
)

JOULES_PER_KWH = 3.6e6
GRID_V = 231.0
LOOP_OHM = 0.28  # from the transformer to the meter
BASE_W = 95.0
POWER_FACTOR = 0.96
PART_S = 1.0

Appliance = tuple[float, float, float]  # W while on, times on a day, minutes on
APPLIANCES: tuple[Appliance, ...] = (
    (70.0, 40.0, 15.0),  # fridge
    (2050.0, 8.0, 3.0),  # kettle
    (1900.0, 3.0, 35.0),  # oven
    (450.0, 2.0, 60.0),  # washing machine
    (150.0, 6.0, 80.0),  # lights and screens
)


@dataclass(slots=True)
class Meter:
    """State of the house; energy in J since the meter was made."""

    energy_j: float = 4271.338 * JOULES_PER_KWH
    on: list[bool] = field(default_factory=lambda: [False] * len(APPLIANCES))
    base: Wander = field(default_factory=lambda: Wander(20.0, 300.0))
    grid: Wander = field(default_factory=lambda: Wander(1.5, 600.0))
    clock: Wander = field(default_factory=lambda: Wander(0.015, 30.0))

    def step(self, dt_s: float, rng: Random) -> tuple[float, ...]:
        """Advance; returns voltage, current, power, energy, frequency."""
        voltage = current = power = 0.0
        for part_s in parts(dt_s, PART_S):
            wanted_w = max(10.0, BASE_W + self.base.step(part_s, rng)) + self._switch(part_s, rng)
            source_v = GRID_V + self.grid.step(part_s, rng)
            current = wanted_w / (source_v * POWER_FACTOR)
            voltage = source_v - LOOP_OHM * current
            power = voltage * current * POWER_FACTOR
            self.energy_j += power * part_s
        return voltage, current, power, self.energy_j / JOULES_PER_KWH, 50.0 + self.clock.step(dt_s, rng)

    def _switch(self, dt_s: float, rng: Random) -> float:
        """Let appliances come and go; returns what those that are on take, in W."""
        total_w = 0.0
        for index, (watts, times, minutes) in enumerate(APPLIANCES):
            rate_per_s = 1.0 / (60.0 * minutes) if self.on[index] else times / DAY_S
            if happens(rate_per_s, dt_s, rng):
                self.on[index] = not self.on[index]
            total_w += watts if self.on[index] else 0.0
        return total_w
