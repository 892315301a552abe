"""The swarm against a whole server, in every mode: what was acked is there, once and as it was."""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner
from fleet_process import Server, serving

from firmware_sim.cli import cli
from firmware_sim.swarm.crew import Road
from firmware_sim.swarm.modes import Mode, Times
from firmware_sim.swarm.report import Report
from firmware_sim.swarm.run import Settings, run

pytestmark = pytest.mark.xdist_group("swarm")  # one server, one swarm

DEVICES = 40


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("swarm")


@pytest.fixture(scope="module")
def server(place: Path) -> Iterator[Server]:
    with serving(place / "data", "--name", "127.0.0.1") as running:
        yield running


def play(server: Server, place: Path, mode: Mode, times: Times, **options: object) -> Report:
    settings = Settings(
        str(server.api.base_url).removesuffix("/api/v1/").removesuffix("/api/v1"),
        (place / "data" / "admin.token").read_text().strip(),
        place / "state",
        **{"devices": DEVICES, "series": 4, "every_s": 0.2, "mode": mode, "times": times, **options},  # type: ignore[arg-type] # by name
    )
    return run(settings, lambda _: None, lambda _: None)


def clean(report: Report) -> bool:
    verdict = report.verdict
    assert verdict.is_clean, report.sentence()
    assert verdict.acked == verdict.stored
    assert verdict.acked > 0
    return not verdict.waiting and not verdict.refused


def test_a_steady_swarm_loses_nothing(server: Server, place: Path):
    report = play(server, place, Mode.STEADY, Times(3.0))

    assert clean(report)
    assert report.errors == {}
    assert report.samples[-1].connected == 0
    assert max(sample.connected for sample in report.samples) == DEVICES


def test_the_identities_of_one_run_are_those_of_the_next(server: Server, place: Path):
    play(server, place, Mode.STEADY, Times(0.5), devices=DEVICES // 2)
    before = server.get("/devices?limit=1000")["items"]

    play(server, place, Mode.STEADY, Times(0.5), devices=DEVICES // 2)

    assert len(server.get("/devices?limit=1000")["items"]) == len(before)


def test_over_the_gateway_alone_nothing_is_lost(server: Server, place: Path):
    report = play(server, place, Mode.STEADY, Times(2.0), road=Road.SYNC)

    assert clean(report)
    assert report.counts["gateway calls"] > DEVICES
    assert max(sample.connected for sample in report.samples) == 0


def test_a_burst_sends_as_fast_as_acks_come(server: Server, place: Path):
    report = play(server, place, Mode.BURST, Times(2.0), every_s=1.0, per_row=20, rows=1, premake=3, road=Road.HALF)

    assert clean(report)
    assert report.marks["readings_a_s"] > 0
    assert report.verdict.acked % 80 == 0


def test_a_backlog_is_drained_to_its_end(server: Server, place: Path):
    report = play(server, place, Mode.BACKLOG, Times(60.0, backlog_s=900.0), every_s=1.0, devices=10)

    assert clean(report)
    assert report.verdict.acked >= 10 * 4 * 899


def test_a_storm_is_over_when_all_that_waited_is_acked(server: Server, place: Path):
    report = play(server, place, Mode.STORM, Times(1.5, outage_s=1.0))

    assert clean(report)
    assert report.marks["not_back"] == 0
    assert report.marks["links_opened"] >= DEVICES


def test_slow_readers_cost_the_others_nothing(server: Server, place: Path):
    report = play(server, place, Mode.SLOW, Times(5.0), share=0.3)

    assert clean(report)
    assert report.counts["repeats"] > 0


def test_a_hostile_tenth_neither_harms_nor_doubles_what_others_send(server: Server, place: Path):
    report = play(server, place, Mode.HOSTILE, Times(6.0), share=0.5)

    assert clean(report)
    assert report.counts["repeats"] > 0
    assert sum(count for name, count in report.counts.items() if name.startswith("attack: ")) >= 20
    assert server.process.poll() is None


def test_every_device_that_listens_is_told_of_a_config(server: Server, place: Path):
    report = play(server, place, Mode.HINT, Times(1.0))

    assert clean(report)
    assert report.marks["hint_devices"] == report.marks["hint_listening"] == DEVICES
    assert report.marks["hint_last_s"] < 30


def test_the_command_takes_the_road_it_was_told_and_writes_a_page(server: Server, place: Path, tmp_path: Path):
    page = tmp_path / "swarm.html"
    how = ("--devices", "5", "--every", "200ms", "--for", "2s", "--road", "link", "--json", "--page", str(page))
    where = ("--url", str(server.api.base_url).partition("/api")[0], "--state", str(place / "state"))
    token = ("--token-file", str(place / "data" / "admin.token"), "--watch", f"fleet={server.process.pid}")

    done = CliRunner().invoke(cli, ["swarm", *how, *where, *token])

    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["counts"].get("gateway calls", 0) == 0
    assert {"fleet", "nats-server"} <= told["usage"].keys()
    assert page.read_text().count("<svg") == 6


def test_the_fleets_tally_is_what_its_readings_are(server: Server, place: Path):
    play(server, place, Mode.STEADY, Times(1.0), devices=1)
    device = min((place / "state" / "devices").glob("*.pem")).stem
    accept = {"Accept": "application/x-ndjson"}
    listed = server.api.get(f"/devices/{device}/readings", params={"series": "board.temp"}, headers=accept)
    tally = server.api.get("/tally", params={"device": device}).json()

    assert tally["device"] == device
    assert tally["series"]["board.temp"]["count"] == len(listed.text.splitlines())
    with pytest.raises(httpx.HTTPStatusError):
        server.get("/tally?device=nobody-here")
