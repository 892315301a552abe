"""What the devices of a swarm measure: a pure function of device, series and number, so nothing has to be kept.

Reading `n` (0, 1, 2 …) of a series of a device has

    the time   start_us + n * every_us + JITTER_US[(n + d) % PERIOD]
    the value  pattern[(n + d + s) % PERIOD]          (d, s: offsets of the device and of the series)

and row `seq` (1, 2, 3 …) holds the readings (seq - 1) * per_row … seq * per_row - 1 of every series, which were read
together and share their times. So a row can be made again whenever the fleet asks for it, and what a device has
emitted up to any row is known without a note: the ledger is this module and one number a device.

Values are made once as the text that goes over the wire, so a row is made by joining pieces. The patterns are those of
real boards: a temperature that wanders, a power that is noisy, a counter, a switch. Jitter is what a scheduler adds.

The **tally** of readings is their count and a checksum that does not depend on their order: the sum over all of
(t_us + 1) * (2 * m + 1) modulo 2**64, where m is the value in whole thousandths. One reading lost, doubled, moved in
time, changed, or given to another series, changes it. `GET /api/v1/tally` tells the same of what the fleet has.
"""

import random
from dataclasses import dataclass
from functools import cached_property

PERIOD = 512
MODULUS = 1 << 64
MAX_JITTER_US = 4000
SEED = 20_260_101
DEVICE_STRIDE = 37  # offsets of neighbours differ, and come back after PERIOD devices only
SERIES_STRIDE = 131

Tally = tuple[int, int]
"""Count and checksum."""


@dataclass(frozen=True, slots=True)
class Quantity:
    """One kind of series: its values as text, once round, and in thousandths."""

    name: str
    unit: str  # UCUM
    texts: tuple[str, ...]
    milli: tuple[int, ...]


def _quantity(name: str, unit: str, milli: list[int], decimals: int) -> Quantity:
    step = 10 ** (3 - decimals)
    rounded = [value // step * step for value in milli]
    texts = tuple(f"{value / 1000:.{decimals}f}" if decimals else str(value // 1000) for value in rounded)
    return Quantity(name, unit, texts, tuple(rounded))


def _quantities() -> tuple[Quantity, ...]:
    rng = random.Random(SEED)  # noqa: S311 - the same values in every run
    temp, walk = -18_500, []
    for n in range(PERIOD):
        temp += rng.randint(-40, 40) + (-18_500 - temp) // 50
        walk.append(temp if n < PERIOD - 1 else -18_500)
    power = [120_000 + rng.randint(-9_000, 9_000) + (40_000 if n % 60 < 20 else 0) for n in range(PERIOD)]  # noqa: PLR2004 - a cycle
    energy = [n * 3_000 for n in range(PERIOD)]
    door = [1_000 if n % 97 < 3 else 0 for n in range(PERIOD)]  # noqa: PLR2004 - seldom open
    return (
        _quantity("temp", "Cel", walk, 2),
        _quantity("power", "W", power, 1),
        _quantity("energy", "W.h", energy, 0),
        _quantity("door", "1", door, 0),
        _quantity("current", "A", [value // 230 for value in power], 3),
    )


QUANTITIES = _quantities()
_JITTER = random.Random(SEED + 1)  # noqa: S311 - the same in every run
_SHARES = tuple(_JITTER.random() for _ in range(PERIOD))


@dataclass(frozen=True)
class Course:
    """What every device of one run measures.

    `every_us` lies between two readings of a series; a row holds `per_row` of each of the `series` series.
    """

    series: int
    every_us: int
    per_row: int = 1

    @cached_property
    def jitter_us(self) -> tuple[int, ...]:
        """How late each reading is, once round; never so late that two change places."""
        most = min(MAX_JITTER_US, self.every_us // 4)
        return tuple(int(share * most) for share in _SHARES)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the series, "<source>.<quantity>"."""
        kinds = len(QUANTITIES)
        return tuple(
            f"board.{QUANTITIES[s % kinds].name}{s // kinds if s >= kinds else ''}" for s in range(self.series)
        )

    @property
    def readings_a_row(self) -> int:
        """Readings of all series in one row."""
        return self.series * self.per_row

    def t_us(self, device: int, start_us: int, n: int) -> int:
        """Event time of reading `n` of the device with this number."""
        return start_us + n * self.every_us + self.jitter_us[(n + device * DEVICE_STRIDE) % PERIOD]

    def rows_until(self, start_us: int, now_us: int) -> int:
        """How many rows are whole at `now_us`."""
        return max(0, (now_us - start_us - MAX_JITTER_US) // self.every_us + 1) // self.per_row

    def row(self, device: int, start_us: int, seq: int, boot_id: str) -> str:
        """Return row `seq` as the JSON text of a segment."""
        first = (seq - 1) * self.per_row
        t0_us = self.t_us(device, start_us, first)
        own = first + device * DEVICE_STRIDE
        times = f'{t0_us},"dt":[0{self._steps_after(own % PERIOD)}],"v":['
        count = self.per_row
        parts = []
        for head, texts, offset in self._columns:
            at = (own + offset) % PERIOD
            parts.append(f"{head}{times}{texts[at] if count == 1 else ','.join(texts[at : at + count])}]}}")
        mono_us = first * self.every_us
        columns = ",".join(parts)
        return f'{{"seq":{seq},"boot_id":"{boot_id}","mono_us":{mono_us},"clock":"synced","series":[{columns}]}}'

    def newest(self, device: int, start_us: int, seq: int) -> str:
        """Return the last reading of each series in row `seq`, as the JSON text of a snapshot."""
        n = seq * self.per_row - 1
        t_us = self.t_us(device, start_us, n)
        own = n + device * DEVICE_STRIDE
        return ",".join(
            f'{head}"t_us":{t_us},"v":{texts[(own + offset) % PERIOD]}}}'
            for (_, texts, offset), head in zip(self._columns, self._newest_heads, strict=True)
        )

    def tally(self, device: int, start_us: int, series: int, rows: int) -> Tally:
        """Return the tally of a series over the rows 1 … `rows`.

        Whole periods are summed in closed form, so it costs the same for a minute as for a year.
        """
        count = rows * self.per_row
        periods, rest = divmod(count, PERIOD)
        milli = QUANTITIES[series % len(QUANTITIES)].milli
        total = whole = weights = 0
        for i in range(PERIOD if periods else rest):
            at = i + device * DEVICE_STRIDE
            weight = 2 * milli[(at + series * SERIES_STRIDE) % PERIOD] + 1
            term = (start_us + i * self.every_us + self.jitter_us[at % PERIOD] + 1) * weight
            whole += term
            weights += weight
            if i < rest:
                total += term + periods * PERIOD * self.every_us * weight
        if periods:
            total += periods * whole + self.every_us * PERIOD * weights * (periods * (periods - 1) // 2)
        return count, total % MODULUS

    @cached_property
    def _columns(self) -> tuple[tuple[str, tuple[str, ...], int], ...]:
        """Of each series: its head up to the time, its texts laid end to end, its offset."""
        laid = -(-(self.per_row + PERIOD) // PERIOD)
        kinds = [QUANTITIES[s % len(QUANTITIES)] for s in range(self.series)]
        return tuple(
            (f'{{"name":"{name}","unit":"{kind.unit}","t0_us":', kind.texts * laid, s * SERIES_STRIDE)
            for s, (name, kind) in enumerate(zip(self.names, kinds, strict=True))
        )

    @cached_property
    def _newest_heads(self) -> tuple[str, ...]:
        return tuple(head.removesuffix('"t0_us":') for head, _, _ in self._columns)

    @cached_property
    def _laid_steps(self) -> tuple[str, ...]:
        jitter = self.jitter_us
        steps = tuple(str(self.every_us + jitter[i] - jitter[i - 1]) for i in range(PERIOD))
        return steps * -(-(self.per_row + PERIOD) // PERIOD)

    def _steps_after(self, at: int) -> str:
        """Return the distances of a row's readings but the first, each after a comma."""
        if self.per_row == 1:
            return ""
        return "," + ",".join(self._laid_steps[at + 1 : at + self.per_row])
