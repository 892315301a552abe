"""The models of the simulated boards behave as the machines that they stand for."""

from itertools import pairwise
from random import Random

import pytest

from firmware_sim.catalogue import FREEZER, KINDS, METER, PRINTER, PUMP, TRACKER, Kind
from firmware_sim.signals.freezer import Freezer
from firmware_sim.signals.tracker import CRUISE, DEGREE_M, ROUTE

DAY_S = 86_400


def series(kind: Kind, step_s: float, seconds: float, seed: int = 1) -> dict[str, list[float]]:
    model, rng = kind.model(), Random(seed)  # noqa: S311 - a simulation
    rows = [model.step(step_s, rng) for _ in range(int(seconds / step_s))]
    columns = zip(*rows, strict=True)
    return {quantity.name: list(column) for quantity, column in zip(kind.quantities, columns, strict=True)}


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)
def test_the_same_seed_gives_the_same_values(kind: Kind) -> None:
    assert series(kind, 1.0, 100) == series(kind, 1.0, 100)


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)
def test_a_step_may_take_a_millisecond_or_an_hour(kind: Kind) -> None:
    assert series(kind, 0.001, 1)
    assert series(kind, 3600, 10 * 3600)


def test_a_freezer_keeps_its_goods_frozen_with_a_compressor_that_rests() -> None:
    day = series(FREEZER, 10, DAY_S)
    starts = sum(1 for before, after in pairwise(day["compressor"]) if after > before)
    assert 0.25 < sum(day["compressor"]) / len(day["compressor"]) < 0.75
    assert 24 < starts < 200
    assert -19 < sum(day["temp"]) / len(day["temp"]) < -15


def test_a_freezer_defrosts_and_its_air_warms_while_the_goods_stay_frozen() -> None:
    freezer, rng = Freezer(), Random(2)  # noqa: S311 - a simulation
    seen = [(freezer.step(10, rng), freezer.defrost_s, freezer.goods) for _ in range(DAY_S // 10)]
    defrosting = [(values, goods) for values, defrost_s, goods in seen if defrost_s is not None]
    assert 10 < len(defrosting) < 300
    assert max(values[0] for values, _ in defrosting) > -12
    assert max(goods for *_, goods in seen) < -15
    assert all(values[2] == 0 for values, _ in defrosting)


def test_an_open_door_warms_a_freezer() -> None:
    shut, opened = Freezer(), Freezer(open_s=60)
    warm, cold = opened.step(30, Random(1))[0], shut.step(30, Random(1))[0]  # noqa: S311 - a simulation
    assert warm > cold + 1


def test_a_meters_energy_is_the_integral_of_its_power() -> None:
    hours = series(METER, 1.0, 4 * 3600)
    joules = sum(hours["power"][1:])
    assert (hours["energy"][-1] - hours["energy"][0]) * 3.6e6 == pytest.approx(joules, rel=1e-6)
    assert all(after >= before for before, after in pairwise(hours["energy"]))


def test_a_meters_voltage_sags_under_load() -> None:
    day = series(METER, 10.0, 5 * DAY_S)
    loaded = [volts for volts, watts in zip(day["voltage"], day["power"], strict=True) if watts > 1800]
    light = [volts for volts, watts in zip(day["voltage"], day["power"], strict=True) if watts < 300]
    assert sum(loaded) / len(loaded) < sum(light) / len(light) - 0.5


def test_a_printer_counts_pages_up_and_takes_toner_for_them() -> None:
    hours = series(PRINTER, 1.0, 6 * 3600)
    pages = hours["pages"][-1] - hours["pages"][0]
    assert pages > 50
    assert all(after - before in {0, 1} for before, after in pairwise(hours["pages"]))
    assert hours["toner"][0] - hours["toner"][-1] == pytest.approx(pages * 0.025, rel=0.2)
    assert max(hours["fuser_temp"]) < 200


def test_a_pump_holds_its_pressure_while_the_demand_wanders() -> None:
    hour = series(PUMP, 0.5, 3600)
    assert max(hour["flow"]) - min(hour["flow"]) > 40
    assert min(hour["pressure"]) > 3.7
    assert max(hour["pressure"]) < 4.4
    by_flow = sorted(zip(hour["flow"], hour["current"], strict=True))
    assert sum(amperes for _, amperes in by_flow[-200:]) > 1.2 * sum(amperes for _, amperes in by_flow[:200])


def test_a_van_follows_its_route_without_leaps() -> None:
    drive = series(TRACKER, 1.0, 3600)
    assert max(drive["speed"]) <= CRUISE
    assert min(drive["speed"]) == 0
    leaps = [abs(after - before) * DEGREE_M for before, after in pairwise(drive["lat"])]
    assert max(leaps) < CRUISE + 5
    near = [
        min(abs(lat - at[0]) + abs(lon - at[1]) for lat, lon in zip(drive["lat"], drive["lon"], strict=True))
        for at in ROUTE
    ]
    assert max(near) * DEGREE_M < 60
