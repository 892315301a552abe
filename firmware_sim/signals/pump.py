"""A booster pump.

The demand for water wanders; a controller holds the pressure by the speed; head, flow and power follow the affinity
laws; vibration grows with the speed and with the wear of the bearing; the motor warms by its losses.

    p = p_in + H0 s² - K q²        P = (P0 + P1 q/q_n) s³        with the speed s of 0 … 1.1 and the flow q
"""

from dataclasses import dataclass, field
from random import Random

from firmware_sim.signals.model import Ambient, Heating, Quantity, Wander, parts

QUANTITIES = (
    Quantity("pressure", "bar", 2),
    Quantity("flow", "L/min", 1),
    Quantity("vibration", "mm/s", 2),
    Quantity("current", "A", 2),
    Quantity("motor_temp", "Cel", 1),
)
OVERHEAT = Heating("motor_temp", per_s=12.0, most=70.0)

INLET_BAR = 1.2
SHUT_OFF_BAR = 5.2  # H0
CURVE = 1.1e-4  # K, bar/(L/min)²
SET_BAR = 4.0
MEAN_FLOW = 60.0  # L/min
NOMINAL_FLOW = 80.0
IDLE_W = 320.0  # P0
FLOW_W = 780.0  # P1
AMPERES_PER_W = 1 / (1.73 * 400 * 0.82)
MAGNETISING_A = 0.7
LOSS = 0.2  # of the power warms the motor
C_MOTOR = 6_000.0  # J/K
UA_MOTOR = 6.0  # W/K
WEAR_PER_S = 1 / (2 * 365 * 86_400.0)
GAIN_P, GAIN_I = 0.02, 0.10  # of speed a bar, and a bar second
SPEED = (0.3, 1.1)
LAG_S = 0.8  # water and pipes
PART_S = 0.2


@dataclass(slots=True)
class Pump:
    """State of a pump: speed 0 … 1.1, pressure in bar, temperature in °C, wear 0 … 1."""

    speed: float = 0.85
    integral: float = 0.85
    pressure: float = SET_BAR
    flow: float = MEAN_FLOW
    motor: float = 45.0
    wear: float = 0.15
    demand: Wander = field(default_factory=lambda: Wander(22.0, 40.0))
    room: Ambient = field(default_factory=lambda: Ambient(18.0, 2.0))

    def step(self, dt_s: float, rng: Random) -> tuple[float, ...]:
        """Advance; returns pressure, flow, vibration, current, motor_temp."""
        power_w = 0.0
        for part_s in parts(dt_s, PART_S):
            ambient = self.room.step(part_s, rng)
            wanted = max(0.0, MEAN_FLOW + self.demand.step(part_s, rng))
            keep = LAG_S / (LAG_S + part_s)
            self.flow = keep * self.flow + (1.0 - keep) * wanted
            self._control(part_s)
            head = INLET_BAR + SHUT_OFF_BAR * self.speed**2 - CURVE * self.flow**2
            self.pressure = keep * self.pressure + (1.0 - keep) * head
            power_w = (IDLE_W + FLOW_W * self.flow / NOMINAL_FLOW) * self.speed**3
            self.motor += (LOSS * power_w - UA_MOTOR * (self.motor - ambient)) * part_s / C_MOTOR
            self.wear = min(1.0, self.wear + WEAR_PER_S * part_s)
        rough = 0.6 + 1.3 * self.speed**2 * (1.0 + 4.0 * self.wear**2)
        return (
            self.pressure + rng.gauss(0.0, 0.01),
            max(0.0, self.flow + rng.gauss(0.0, 0.3)),
            abs(rough + rng.gauss(0.0, 0.08)),
            MAGNETISING_A + power_w * AMPERES_PER_W + rng.gauss(0.0, 0.01),
            self.motor + rng.gauss(0.0, 0.05),
        )

    def _control(self, dt_s: float) -> None:
        least, most = SPEED
        error = SET_BAR - self.pressure
        self.integral = min(most, max(least, self.integral + GAIN_I * error * dt_s))
        self.speed = min(most, max(least, self.integral + GAIN_P * error))
