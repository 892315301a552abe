"""Sampling of series: figures of windows, changes, and how both are configured."""

import pytest

from agent.core.config import DeviceConfig, parse_config
from agent.core.sampling import Figure, Keep, Sampler, Sampling
from agent.ports import Reading
from agent.protocols import find
from agent.wire.document import DocumentError
from agent.wire.messages import Value

S = 1_000_000
SOURCE = """
[[source]]
name = "board"
port = "/dev/ttyUSB0"
protocol = "nmea"
"""


def parse(sampling: str) -> DeviceConfig:
    return parse_config(f"{SOURCE}[[source.sampling]]\n{sampling}", find)


def take(sampler: Sampler, rows: list[tuple[float, Value]]) -> list[tuple[str, float, Value]]:
    kept = sampler.take([Reading("board.temp", "Cel", int(t * S), v) for t, v in rows])
    return [(reading.name, reading.t_us / S, reading.v) for reading in kept]


def test_a_window_tells_least_mean_greatest_and_last_dated_by_its_last_reading():
    sampler = Sampler([Sampling("board.temp", Keep.AGGREGATE, window_us=60 * S)])

    assert take(sampler, [(1, 4), (20, 2.0), (59, 3)]) == []
    assert take(sampler, [(60, 9)]) == [
        ("board.temp.min", 59, 2.0),
        ("board.temp.mean", 59, 3.0),
        ("board.temp.max", 59, 4),
        ("board.temp.last", 59, 3),
    ]


def test_a_window_without_a_number_tells_that_there_was_none():
    sampler = Sampler([Sampling("*", Keep.AGGREGATE, window_us=60 * S, figures=(Figure.MAX, Figure.LAST))])
    take(sampler, [(1, None), (2, "fault")])

    assert [reading.v for reading in sampler.finish()] == [None, "fault"]


def test_a_window_that_no_reading_closes_is_closed_by_the_clock():
    sampler = Sampler([Sampling("*", Keep.AGGREGATE, window_us=60 * S, figures=(Figure.MEAN,))])
    take(sampler, [(1, 5)])

    assert sampler.tick(61 * S) == []
    assert [reading.v for reading in sampler.tick(62 * S)] == [5.0]
    assert sampler.finish() == []


def test_a_change_is_kept_and_a_sign_of_life():
    sampler = Sampler([Sampling("*", Keep.CHANGE, 0.5, 10 * S)])

    kept = take(sampler, [(0, 1.0), (1, 1.4), (2, 1.6), (3, 1.6), (12, 1.7), (13, None), (14, None), (15, 1.7)])

    assert [t for _, t, _ in kept] == [0, 2, 12, 13, 15]


def test_the_first_sampling_that_matches_counts():
    sampler = Sampler([Sampling("board.temp", Keep.EVERY), Sampling("board.*", Keep.CHANGE, 100)])

    assert len(take(sampler, [(0, 1), (1, 1)])) == 2


def test_sampling_is_part_of_a_source():
    change = parse('series = "alt"\nkeep = "change"\ndeadband = 0.5\nat_least_every_s = 600')
    window = parse('series = "*"\nkeep = "aggregate"\nwindow_s = 60\nfigures = ["min", "max"]')

    assert change.sampling == (Sampling("board.alt", Keep.CHANGE, 0.5, 600 * S),)
    assert window.sampling == (Sampling("board.*", Keep.AGGREGATE, window_us=60 * S, figures=(Figure.MIN, Figure.MAX)),)


@pytest.mark.parametrize(
    ("sampling", "message"),
    [
        ('series = "a"', "source[0].sampling[0].keep: missing"),
        ('series = "a"\nkeep = "changes"', "'changes' is none of every, change, aggregate; did you mean 'change'?"),
        ('series = "a"\nkeep = "change"\nwindow_s = 3', "source[0].sampling[0].window_s: unknown key"),
        ('series = "a"\nkeep = "aggregate"', "source[0].sampling[0].window_s: missing"),
        ('series = "a"\nkeep = "aggregate"\nwindow_s = 9\nfigures = ["avg"]', "'avg' is none of min, mean, max, last"),
        ('series = "a"\nkeep = "aggregate"\nwindow_s = 9\nfigures = []', "figures: empty; leave it out for all"),
    ],
)
def test_a_mistake_in_a_sampling_names_its_key(sampling: str, message: str):
    with pytest.raises(DocumentError) as caught:
        parse(sampling)

    assert message in str(caught.value)
