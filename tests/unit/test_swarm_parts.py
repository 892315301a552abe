"""The swarm's ledger of rows, its latencies, its report."""

import math
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from firmware_sim.cli import cli
from firmware_sim.swarm.ledger import Verdict, _judge
from firmware_sim.swarm.member import acked_rows
from firmware_sim.swarm.meter import Latency, Meter
from firmware_sim.swarm.opening import Opening
from firmware_sim.swarm.report import Report


@pytest.mark.parametrize(
    ("mark", "aside", "spans"),
    [
        (0, [], []),
        (5, [], [(1, 5)]),
        (5, [(2, 3)], [(1, 1), (4, 5)]),
        (5, [(1, 2), (4, 5)], [(3, 3)]),
        (3, [(3, 9)], [(1, 2)]),
        (2, [(3, 4)], [(1, 2)]),
    ],
)
def test_what_was_acked_is_all_up_to_the_mark_but_what_was_refused(
    mark: int, aside: list[tuple[int, int]], spans: list[tuple[int, int]]
):
    assert acked_rows(SimpleNamespace(mark=mark, aside=aside)) == spans  # type: ignore[arg-type] # all that it looks at


@pytest.mark.parametrize(
    ("got", "lost", "doubled", "changed"),
    [((10, 7), 0, 0, 0), ((12, 9), 0, 0, 0), ((9, 7), 1, 0, 0), ((13, 9), 0, 1, 0), ((10, 8), 0, 0, 1)],
)
def test_the_verdict_tells_lost_from_doubled_from_changed(got: tuple[int, int], lost: int, doubled: int, changed: int):
    verdict = Verdict()

    _judge(verdict, "d1 board.temp", got, (10, 7), (12, 9))

    assert (verdict.lost, verdict.doubled, verdict.changed) == (lost, doubled, changed)
    assert verdict.is_clean == (not verdict.examples)


def test_a_percentile_is_right_within_its_bucket():
    latency = Latency()
    for n in range(1, 1001):
        latency.add(n / 1000)

    assert latency.percentile_s(0.5) == pytest.approx(0.5, rel=0.03)
    assert latency.percentile_s(0.99) == pytest.approx(0.99, rel=0.03)
    assert latency.percentile_s(1) == 1.0


def test_the_wait_for_the_link_does_not_begin_anew_at_each_attempt_that_fails():
    opening = Opening()

    opening.link_lost(100.0, 0.5)
    opening.link_lost(104.0, 0.5)

    assert opening.at_s == 105.0


def test_a_link_that_is_lost_does_not_have_the_gateway_called_before_the_time_it_asked_for():
    opening = Opening()
    opening.link_silent(100.0)
    opening.put_off(130.0)

    opening.link_acked()
    assert opening.at_s == math.inf

    opening.link_lost(110.0, 0.5)
    assert opening.at_s == 130.0


def test_a_report_is_one_page_with_nothing_from_elsewhere():
    meter = Meter()
    for second in range(3):
        meter.acked(0.01, 10)
        meter.error("link: <closed>")
        meter.tick(float(second))
    report = Report(
        {"mode": "steady"},
        2.0,
        meter.counts,
        meter.errors,
        meter.latency,
        meter.samples,
        Verdict(acked=30, stored=30),
        {},
    )

    page = report.page()

    assert page.count("<svg") == 6
    assert "&lt;closed&gt;" in page
    assert "http" not in page
    assert report.figures()["readings_a_s"] == 15.0
    assert "Nothing lost" in report.sentence()


def test_a_swarm_takes_its_token_from_no_argument_where_every_user_of_the_machine_could_read_it():
    done = CliRunner().invoke(cli, ["swarm", "--token", "secret"])

    assert done.exit_code == 2
    assert "No such option" in done.stderr


def test_a_swarm_needs_a_token_and_says_where_it_is():
    done = CliRunner().invoke(cli, ["swarm"], env={"FLEET_TOKEN": ""})

    assert done.exit_code == 2
    assert "--token-file" in done.stderr
