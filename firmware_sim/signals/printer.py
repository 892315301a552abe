"""A laser printer.

Jobs come at random; the fuser is kept hot by bursts of heat, hotter while it prints, cold when it sleeps; each page
takes toner, and the heater pulls the 24 V supply down.
"""

from dataclasses import dataclass, field
from random import Random

from firmware_sim.signals.model import Ambient, Heating, Quantity, Wander, happens, parts

QUANTITIES = (
    Quantity("fuser_temp", "Cel", 1),
    Quantity("pages", "1", 0),
    Quantity("toner", "%", 2),
    Quantity("supply", "V", 2),
)
OVERHEAT = Heating("fuser_temp", per_s=15.0, most=80.0)

JOBS_PER_S = 1 / 240.0
PAGES_PER_JOB = (1, 25)
PAGE_S = 2.0
PRINT_TEMP = 195.0
READY_TEMP = 160.0
SLEEP_AFTER_S = 900.0
BAND = 2.0  # K about the set point
HEATER_W = 800.0
C_FUSER = 350.0  # J/K
UA_FUSER = 1.1  # W/K
PAGE_J = 450.0  # heat that a page carries away
TONER_PER_PAGE = 0.025  # %
SUPPLY_V = 24.1
SAG_V = 0.45  # under the heater
MOTOR_V = 0.12
PART_S = 0.25


@dataclass(slots=True)
class Printer:
    """State of a printer; temperatures in °C, times in seconds."""

    fuser: float = READY_TEMP
    pages: int = 41_250
    toner: float = 87.4
    waiting: int = 0  # pages
    page_s: float = 0.0  # how long the page in the path has been there
    idle_s: float = 0.0
    heating: bool = False
    room: Ambient = field(default_factory=Ambient)
    mains: Wander = field(default_factory=lambda: Wander(0.05, 120.0))

    def step(self, dt_s: float, rng: Random) -> tuple[float, ...]:
        """Advance; returns fuser_temp, pages, toner, supply."""
        for part_s in parts(dt_s, PART_S):
            ambient = self.room.step(part_s, rng)
            if happens(JOBS_PER_S, part_s, rng):
                self.waiting += rng.randint(*PAGES_PER_JOB)
            carried_j = self._print(part_s, rng)
            self._heat(part_s, ambient, carried_j)
        sag = (SAG_V if self.heating else 0.0) + (MOTOR_V if self.waiting else 0.0)
        supply = SUPPLY_V + self.mains.step(dt_s, rng) - sag + rng.gauss(0.0, 0.01)
        return self.fuser + rng.gauss(0.0, 0.2), self.pages, self.toner, supply

    def _print(self, dt_s: float, rng: Random) -> float:
        """Print as hot as need be; returns the heat carried away, in J."""
        if not self.waiting:
            self.idle_s += dt_s
            return 0.0
        self.idle_s = 0.0
        if self.fuser < PRINT_TEMP - 4 * BAND:
            return 0.0
        self.page_s += dt_s
        if self.page_s >= PAGE_S:
            self.page_s = 0.0
            self.waiting -= 1
            self.pages += 1
            self.toner -= TONER_PER_PAGE * rng.uniform(0.4, 1.6)
            if self.toner <= 0.0:
                self.toner = 100.0  # a new cartridge
        return PAGE_J * dt_s / PAGE_S

    def _heat(self, dt_s: float, ambient: float, carried_j: float) -> None:
        target = PRINT_TEMP if self.waiting else READY_TEMP if self.idle_s < SLEEP_AFTER_S else 0.0
        if self.fuser < target - BAND:
            self.heating = True
        elif self.fuser > target:
            self.heating = False
        gained_j = (HEATER_W if self.heating else 0.0) * dt_s - UA_FUSER * (self.fuser - ambient) * dt_s - carried_j
        self.fuser += gained_j / C_FUSER
