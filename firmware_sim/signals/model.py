"""What every model shares: quantities, the `Model` protocol, and the random processes that nature is made of."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Protocol

DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Quantity:
    """Something a board measures. Its value goes over the wire with `decimals` decimals, none meaning an integer."""

    name: str
    unit: str  # UCUM
    decimals: int


@dataclass(frozen=True, slots=True)
class Heating:
    """What the fault `overheat` does to a board: `quantity` rises by `per_s` a second, by `most` at most."""

    quantity: str
    per_s: float
    most: float


class Model(Protocol):
    """A physical model. It keeps its state; time and chance come from outside."""

    def step(self, dt_s: float, rng: Random) -> tuple[float, ...]:
        """Advance by `dt_s` seconds and return one value for each of the board's quantities, in their order."""
        ...


def parts(dt_s: float, most_s: float) -> Iterator[float]:
    """Split `dt_s` into equal parts of at most `most_s`, so that an explicit integration stays stable."""
    count = max(1, math.ceil(dt_s / most_s))
    for _ in range(count):
        yield dt_s / count


def happens(rate_per_s: float, dt_s: float, rng: Random) -> bool:
    """Tell whether a Poisson event of that rate falls into the next `dt_s`."""
    return rng.random() < -math.expm1(-rate_per_s * dt_s)


@dataclass(slots=True)
class Wander:
    """An Ornstein-Uhlenbeck process about zero, exact for any dt: deviation `sigma`, memory `tau_s` seconds."""

    sigma: float
    tau_s: float
    value: float = 0.0

    def step(self, dt_s: float, rng: Random) -> float:
        """Advance and return the value."""
        keep = math.exp(-dt_s / self.tau_s)
        self.value = self.value * keep + self.sigma * math.sqrt(1.0 - keep * keep) * rng.gauss(0.0, 1.0)
        return self.value


@dataclass(slots=True)
class Ambient:
    """Room temperature in °C: a day that is warmest at 15 h, and weather. `hour_s` is the second of the day."""

    mean: float = 22.0
    swing: float = 3.0
    hour_s: float = 10 * 3600.0
    weather: Wander = field(default_factory=lambda: Wander(0.8, 4 * 3600.0))

    def step(self, dt_s: float, rng: Random) -> float:
        """Advance and return the temperature."""
        self.hour_s = (self.hour_s + dt_s) % DAY_S
        day = math.cos(2 * math.pi * (self.hour_s - 15 * 3600.0) / DAY_S)
        return self.mean + self.swing * day + self.weather.step(dt_s, rng)
