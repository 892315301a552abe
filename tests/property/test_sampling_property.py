"""Sampling, whatever comes: nothing outside the deadband is lost, and each reading counts in one window."""

import math

from hypothesis import given
from hypothesis import strategies as st

from agent.core.sampling import Figure, Keep, Sampler, Sampling
from agent.ports import Reading
from agent.wire.messages import Value

S = 1_000_000
VALUES: st.SearchStrategy[Value] = st.one_of(
    st.integers(-50, 50), st.floats(-50, 50), st.none(), st.sampled_from(["ok", "fault"]), st.just(math.nan)
)
TIMES = st.integers(0, 600 * S)


def readings_of(values: st.SearchStrategy[Value]) -> st.SearchStrategy[list[Reading]]:
    """Readings of one series, in any order of time."""
    return st.lists(st.builds(lambda t_us, v: Reading("a.b", "Cel", t_us, v), TIMES, values), max_size=60)


def is_near(one: Value, other: Value, deadband: float) -> bool:
    if isinstance(one, int | float) and isinstance(other, int | float):
        return abs(one - other) <= deadband
    return one == other


@given(readings_of(VALUES), st.floats(0, 20), st.integers(0, 100 * S))
def test_no_reading_outside_the_deadband_is_lost(readings: list[Reading], deadband: float, beat_us: int):
    sampler = Sampler([Sampling("a.*", Keep.CHANGE, deadband, beat_us)])
    kept: list[Reading] = []
    for reading in readings:
        kept += sampler.take([reading])
        assert kept[-1] is reading or is_near(reading.v, kept[-1].v, deadband)
        assert kept[-1] is reading or reading.t_us >= kept[-1].t_us
        assert kept[-1] is reading or beat_us == 0 or reading.t_us - kept[-1].t_us < beat_us


@given(readings_of(st.integers(-50, 50)), st.integers(1, 120), st.lists(st.integers(0, 700), max_size=9))
def test_each_reading_counts_in_one_window(readings: list[Reading], window_s: int, ticks: list[int]):
    window_us = window_s * S
    sampler = Sampler([Sampling("a.b", Keep.AGGREGATE, window_us=window_us)])
    told: list[Reading] = []
    for i, reading in enumerate(readings):
        told += sampler.take([reading])
        told += [one for tick in ticks[i : i + 1] for one in sampler.tick(tick * S)]
    told += sampler.finish()

    figures = {figure: [one for one in told if one.name == f"a.b.{figure}"] for figure in Figure}
    dated = {reading.t_us: reading for reading in readings}
    assert {one.t_us // window_us for one in told} == {one.t_us // window_us for one in readings}
    assert all(one.t_us in dated for one in told)
    assert min((one.v for one in figures[Figure.MIN]), default=0) == min((it.v for it in readings), default=0)
    assert max((one.v for one in figures[Figure.MAX]), default=0) == max((it.v for it in readings), default=0)
    for least, mean, greatest in zip(*(figures[it] for it in (Figure.MIN, Figure.MEAN, Figure.MAX)), strict=True):
        inside = [it.v for it in readings if it.t_us // window_us == least.t_us // window_us]
        assert min(inside) <= least.v <= mean.v + 1e-9
        assert mean.v - 1e-9 <= greatest.v <= max(inside)


@given(readings_of(VALUES))
def test_what_no_sampling_names_is_kept_whole(readings: list[Reading]):
    assert Sampler([Sampling("x.*", Keep.CHANGE, 1e9)]).take(readings) == readings
