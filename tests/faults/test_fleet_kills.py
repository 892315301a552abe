"""The server is killed under load: what was acked is there once, and the database is what it must be."""

import random
from pathlib import Path

import pytest
from killing import doomed, kill_under_load

pytest_plugins = ("databases",)
pytestmark = [pytest.mark.xdist_group("loss"), pytest.mark.timeout(240)]

SWARM = ("--devices", "25", "--series", "4", "--every", "0.2s")


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_server_that_is_killed_loses_and_doubles_nothing_and_is_sound(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
):
    database = ("--database", request.getfixturevalue("postgresql_url")) if kind == "postgresql" else ()
    with doomed(tmp_path, "--sync-every", "0.5", *database) as server:
        done, report = kill_under_load(server, 3, for_s=14, chance=random.Random(kind), swarm=SWARM)  # noqa: S311
        told = server.doctor()

    assert done >= 1  # three on a machine that is free
    assert report["verdict"]["clean"], report["verdict"]
    assert report["verdict"]["acked"] == report["verdict"]["stored"] > 0
    assert [one for one in told["findings"] if one["level"] == "fail" and one["check"] != "disk"] == []
