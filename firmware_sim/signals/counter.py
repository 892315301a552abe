"""The least a board can measure: a temperature that wanders about -18 °C. Its lines are numbered, as all lines are."""

from random import Random

from firmware_sim.signals.model import Heating, Quantity, Wander

QUANTITIES = (Quantity("temp", "Cel", 2),)
OVERHEAT = Heating("temp", per_s=6.0, most=30.0)


class Counter:
    """Cheap enough for 2,000 lines a second."""

    def __init__(self) -> None:
        self._temp = Wander(0.5, 60.0)

    def step(self, dt_s: float, rng: Random) -> tuple[float, ...]:
        """Advance; returns temp."""
        return (-18.0 + self._temp.step(dt_s, rng),)
