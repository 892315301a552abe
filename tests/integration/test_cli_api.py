"""The command against the real API on a real database."""

import asyncio
import csv
import io
import json
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from batches import STEP_US, T0_US, event, events, segment, telemetry
from click.testing import CliRunner, Result
from desks import ANA, DEVICE, Desk, a_desk, announce, change

from agent.wire.messages import Health, LineHealth, SlaveHealth, SourceHealth
from fleet.cli import main
from fleet.core.actor import Scope
from fleet.store import claim

pytest_plugins = ("databases",)

OTHER = "freezer-000002"
RULE = '[[rule]]\nname = "too-warm"\nseries = "board.temp"\nabove = -5.0\nticket = true\n'
Run = Callable[..., Coroutine[Any, Any, Result]]


@pytest.fixture
def told(sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Run a story with a desk of two devices and a function that runs the command against it."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))

    def tell(story: Callable[[Desk, Run], Coroutine[Any, Any, None]]) -> None:
        async def whole() -> None:
            async with a_desk(sqlite_url, devices=(DEVICE, OTHER)) as desk:

                async def run(*words: str, given: str = "", scope: Scope = Scope.ADMIN, **more: str) -> Result:
                    env = {"FLEET_URL": desk.url, "FLEET_TOKEN": desk.secrets[scope], **more}
                    return await asyncio.to_thread(
                        CliRunner().invoke, main, words, input=given, env=env, prog_name="fleet"
                    )

                await story(desk, run)

        asyncio.run(whole())

    return tell


def shown(done: Result) -> Any:  # noqa: ANN401 - JSON
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_the_device_list_is_the_apis_objects_in_one_array(told: Callable[..., None]):
    async def story(desk: Desk, run: Run) -> None:
        listed = shown(await run("device", "list", "--json"))
        whole = shown(await run("device", "show", DEVICE, "--json"))

        assert listed == (await desk.admin.get("/devices")).json()["items"]
        assert [one["id"] for one in listed] == [DEVICE, OTHER]
        assert {"id", "product", "presence", "last_seen", "agent_version", "config"} <= listed[0].keys()
        assert listed[0].items() <= whole.items()

    told(story)


def test_readings_come_in_order_and_all_of_them(told: Callable[..., None]):
    async def story(desk: Desk, run: Run) -> None:
        rows = [segment(n, [float(n)] * 40) for n in range(1, 101)]
        await desk.fleet.take(telemetry(rows[:50]))
        await desk.fleet.take(telemetry(rows[50:]))
        begin, end = str(T0_US + STEP_US), str(T0_US + 101 * STEP_US)

        done = await run("readings", DEVICE, "board.temp", "--from", begin, "--to", end, "--json")
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        limited = await run("readings", DEVICE, "board.temp", "--limit", "3", "--json")
        table = await run("readings", DEVICE, "board.temp", "--csv")

        assert done.exit_code == 0
        assert len(lines) == 4000
        assert [one["t_us"] for one in lines] == sorted(one["t_us"] for one in lines)
        assert lines[0] == {"t_us": T0_US + STEP_US, "t": "2026-05-28T20:26:41.000000Z", "v": 1.0}
        assert limited.stdout.splitlines() == done.stdout.splitlines()[:3]
        assert len(list(csv.DictReader(io.StringIO(table.stdout)))) == 4000

    told(story)


def test_readings_of_an_empty_time_are_none_and_no_error(told: Callable[..., None]):
    async def story(_desk: Desk, run: Run) -> None:
        assert (await run("readings", DEVICE, "board.temp", "--json")).stdout == ""
        assert "no readings" in (await run("readings", DEVICE, "board.temp")).stdout
        assert (await run("readings", "freezer-000003", "board.temp", "--json")).exit_code == 3

    told(story)


def test_a_slip_in_a_series_is_answered_with_the_nearest(told: Callable[..., None]):
    async def story(desk: Desk, run: Run) -> None:
        await desk.fleet.take(telemetry([segment(1, [1.0])]))

        slip = await run("readings", DEVICE, "board.tmp")
        machine = await run("readings", DEVICE, "board.tmp", "--json")

        assert "Did you mean board.temp?" in slip.stdout
        assert (machine.stdout, machine.exit_code) == ("", 0)

    told(story)


def test_an_unknown_device_is_not_found_and_the_nearest_are_named(told: Callable[..., None]):
    async def story(_desk: Desk, run: Run) -> None:
        lists = (("alarm", "list", "--device"), ("ticket", "list", "--device"))
        nouns = (("device", "show"), ("latest",), ("why",), ("events",), ("gap", "list"), ("device", "revoke"))
        for words in (*nouns, *lists):
            done = await run(*words, "freezer-00001")

            assert done.exit_code == 3
            assert DEVICE in done.stderr

    told(story)


def test_an_alarm_makes_a_ticket_that_is_worked_on(told: Callable[..., None]):
    async def story(desk: Desk, run: Run) -> None:
        await desk.fleet.take(telemetry([segment(n, [float(n - 20)]) for n in range(1, 31)]))
        await announce(desk.fleet, at_us=T0_US + 31 * STEP_US)

        alarms = shown(await run("alarm", "list", "--json"))
        tickets = shown(await run("ticket", "list", "--json"))
        acked = shown(await run("alarm", "ack", str(alarms[0]["id"]), "--json"))
        ticket = tickets[0]["ref"]
        noted = await run("ticket", "note", ticket, "-", given="Seal is worn.\n")
        assigned = shown(await run("ticket", "assign", ticket, "ana", "--json"))
        page = await run("ticket", "show", ticket)
        whole = shown(await run("ticket", "show", ticket, "--json"))
        wrong = await run("ticket", "move", ticket, "closed")

        assert acked["acked_by"] == "user:admin-1"
        assert noted.exit_code == 0
        assert (assigned["assignee"], assigned["state"]) == ("ana", "assigned")
        assert {"id", "state", "evidence"} <= whole.keys()
        assert whole["notes"][0]["text"] == "Seal is worn."
        assert all(said in page.stdout for said in ("board.temp: above -5", "▁", "‾", "Seal is worn.", "ana"))
        assert wrong.exit_code == 4
        assert len(wrong.stderr.splitlines()) == 2
        assert {one["origin"] for one in shown(await run("events", DEVICE, "--kind", "ticket.noted", "--json"))} == {
            "cli"
        }

    told(story)


def test_a_config_is_set_shown_and_its_way_followed(told: Callable[..., None], tmp_path: Path):
    async def story(_desk: Desk, run: Run) -> None:
        (tmp_path / "c.toml").write_text(RULE)

        made = shown(await run("config", "set", "--device", DEVICE, str(tmp_path / "c.toml"), "--json"))
        again = await run("config", "set", "--device", DEVICE, "-", given=RULE)
        text = await run("config", "show", "--device", DEVICE)
        listed = shown(await run("config", "list", "--device", DEVICE, "--json"))
        status = shown(await run("config", "status", "--device", DEVICE, "--json"))
        diff = await run("config", "diff", "--device", DEVICE)
        wrong = await run("config", "set", "--product", "freezer", "-", given="[[rule]]\nname = 1\n")

        assert text.stdout == RULE
        assert "nothing has changed" in again.stdout
        assert [one["revision"] for one in listed] == [made["revision"]]
        assert (status[0]["desired"], status[0]["state"]) == (made["revision"], "pending")
        assert "+above = -5.0" in diff.stdout
        assert wrong.exit_code == 1
        assert "cannot be followed" in wrong.stderr

    told(story)


def test_a_device_that_is_revoked_says_so(told: Callable[..., None]):
    async def story(_desk: Desk, run: Run) -> None:
        done = shown(await run("device", "revoke", DEVICE, "--reason", "stolen", "--json"))
        why = await run("why", DEVICE)

        assert done["revoked"]
        assert "was revoked" in why.stdout
        assert [one["id"] for one in shown(await run("device", "list", "--not-revoked", "--json"))] == [OTHER]

    told(story)


def test_what_could_not_be_read_is_listed(told: Callable[..., None]):
    async def story(desk: Desk, run: Run) -> None:
        await desk.fleet.take(b"\x00garbage")

        listed = shown(await run("quarantine", "list", "--json"))

        assert [(one["device"], one["road"]) for one in listed] == [(DEVICE, "link")]
        assert "fleet quarantine list" in (await run("why", DEVICE)).stdout

    told(story)


def test_a_token_is_made_used_and_ended(told: Callable[..., None]):
    async def story(desk: Desk, run: Run) -> None:
        made = shown(await run("token", "create", "bo", "--scope", "read", "--expires", "1d", "--json"))
        login = await run("login", desk.url, "--name", "here", given=made["token"] + "\n")
        refused = await run("claim", "create", "--product", "freezer", scope=Scope.READ)
        ended = shown(await run("token", "revoke", str(made["id"]), "--json"))
        after = await run("-c", "here", "device", "list")

        assert "as bo (read)" in login.stdout
        assert refused.exit_code == 4
        assert "scope" in refused.stderr
        assert ended["revoked"]
        assert after.exit_code == 4
        assert made["token"] not in (await run("token", "list")).stdout

    told(story)


def test_a_claim_is_printed_alone_on_its_line(told: Callable[..., None]):
    async def story(_desk: Desk, run: Run) -> None:
        made = shown(await run("claim", "create", "--product", "freezer", "--serial", "FZ-1", "--json"))
        said = await run("claim", "create", "--product", "freezer")

        assert made["claim"].startswith("fl1/")
        assert said.stdout.splitlines()[0].startswith("fl1/")

    told(story)


def test_many_claims_are_a_line_each_with_the_device(told: Callable[..., None]):
    async def story(_desk: Desk, run: Run) -> None:
        made = shown(await run("claim", "create", "--product", "freezer", "--count", "260", "--json"))
        said = await run("claim", "create", "--product", "freezer", "--count", "2")
        wrong = await run("claim", "create", "--product", "freezer", "--count", "2", "--serial", "FZ-1")

        assert len(made) == 260
        assert [line.split("\t")[1][:4] for line in said.stdout.splitlines()] == ["fl1/", "fl1/"]
        assert wrong.exit_code == 2

    told(story)


def test_what_is_kept_is_counted_by_device_and_in_all(told: Callable[..., None]):
    async def story(desk: Desk, run: Run) -> None:
        for device in (DEVICE, OTHER):
            await desk.fleet.take(telemetry([segment(1, [1.5, None, "x"])]), device_id=device)
        lines = [json.loads(line) for line in (await run("tally", "--json")).stdout.splitlines()]
        table = await run("tally")
        none = await run("tally", "--device", DEVICE, "--to", str(T0_US))

        assert [line["device"] for line in lines] == [DEVICE, OTHER]
        assert {line["series"]["board.temp"]["count"] for line in lines} == {3}
        assert table.stdout.splitlines()[-1].split()[:3] == ["all", "2", "6"]
        assert "No readings" in none.stdout

    told(story)


def test_every_command_for_people_prints_without_a_trace_of_failure(told: Callable[..., None]):
    async def story(desk: Desk, run: Run) -> None:
        await desk.fleet.take(telemetry([segment(1, [1.5, None, "open"])]))
        await announce(desk.fleet, at_us=T0_US + 2 * STEP_US)
        await run("config", "set", "--product", "freezer", "-", given=RULE)
        for words in (
            "device list", f"device show {DEVICE}", f"latest {DEVICE}", f"readings {DEVICE} board.temp", "alarm list",
            "alarm show 1", "ticket list", "ticket show 1", "config list", "config show 1", "config status",
            f"config diff --device {DEVICE}", "quarantine list", f"gap list {DEVICE}", f"find {DEVICE}",
            f"events {DEVICE}", f"why {DEVICE}", "token list", "ticket move 1 triaged", "alarm ack 1",
        ):  # fmt: skip
            done = await run(*words.split())

            assert done.exit_code == 0, (words, done.output)
            assert done.stdout.strip()

    told(story)


def test_the_tab_key_completes_device_ids(told: Callable[..., None]):
    async def story(_desk: Desk, run: Run) -> None:
        for line in ("fleet device show freezer-", "fleet alarm list --device freezer-"):
            words = {"_FLEET_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": str(len(line.split()) - 1)}
            done = await run(given="", **words)

            assert done.stdout.splitlines() == [f"plain,{DEVICE}", f"plain,{OTHER}"]

    told(story)


def test_a_claim_and_a_devices_own_config_are_taken_back(told: Callable[..., None]):
    async def story(desk: Desk, run: Run) -> None:
        facts = {"device_id": "pump-1", "serial": "", "site": "", "expires_s": 3600, "now_us": T0_US, "by": ANA}
        await desk.fleet.db.write(lambda conn: claim.create(conn, "pump", **facts))  # type: ignore[arg-type] # by name
        (listed,) = shown(await run("claim", "list", "--json"))
        await desk.admin.post("/configs", json={"device": DEVICE, "toml": ""})

        unset = await run("config", "unset", "--device", DEVICE)
        revoked = await run("claim", "revoke", str(listed["id"]))
        again = await run("claim", "list", "--device", "pump-1")

        assert "which has no config: it goes on with what it runs" in unset.stdout
        assert "pump-1 cannot enrol with it" in revoked.stdout
        assert "revoked" in again.stdout

    told(story)


def test_a_quarantined_batch_is_shown_fetched_and_discarded_and_its_line_stays(
    told: Callable[..., None], tmp_path: Path
):
    async def story(desk: Desk, run: Run) -> None:
        await desk.fleet.take(b"not a batch at all")
        (listed,) = shown(await run("quarantine", "list", "--json"))
        number, file = str(listed["id"]), tmp_path / "batch"

        seen = await run("quarantine", "show", number)
        fetched = await run("quarantine", "fetch", number, str(file))
        again = await run("quarantine", "fetch", number, str(file))
        piped = await run("quarantine", "fetch", number, "-")
        refused = await run("quarantine", "discard", number, scope=Scope.TECHNICIAN)
        for _ in range(2):
            assert shown(await run("quarantine", "discard", number, "--json"))["size_bytes"] == 0
        gone = await run("quarantine", "fetch", number, "-")

        assert listed["problem"] in " ".join(seen.stdout.split())
        assert (fetched.exit_code, file.read_bytes()) == (0, b"not a batch at all")
        assert (again.exit_code, "cannot be written" in again.stderr) == (2, True)
        assert piped.stdout_bytes == b"not a batch at all"
        assert refused.exit_code == 4
        assert (gone.exit_code, "not kept any more" in gone.stderr) == (3, True)
        assert (await run("quarantine", "show", "999")).exit_code == 3
        assert len(shown(await run("quarantine", "list", "--json"))) == 1
        assert [one.actor for one in await desk.fleet.events("batch.discarded")] == ["user:admin-1"]

    told(story)


def test_what_is_wrong_on_a_port_and_the_log_of_an_alarm_are_shown(told: Callable[..., None]):
    line, slaves = LineHealth(framing=310, silent=True), (SlaveHealth(3, 9, 9), SlaveHealth(9, 5, 0, 5))
    bus = SourceHealth("bus", True, 9, 1, T0_US, "slave 9: no answer", line, slaves)  # noqa: FBT003 - connected
    health = Health(T0_US, 60, 30_000_000, 0, 0, 0, T0_US, (bus,), written_bytes=9_000, written_readings=100)

    async def story(desk: Desk, run: Run) -> None:
        raised = event(1, "alarm.changed", alarm=change(), log=("level=error msg=<worse>",))
        await desk.fleet.take(events([raised], health=health))

        device = (await run("device", "show", DEVICE)).stdout
        ticket = (await run("ticket", "show", "1")).stdout
        whole = shown(await run("ticket", "show", "1", "--json"))

        assert "90 bytes a reading" in device
        assert "silent" in device
        assert "bus: line: 310 framing" in device
        assert "bus: slave 9: answered 0 of 5, 5 timeouts" in device
        assert "level=error msg=<worse>" in ticket
        assert whole["evidence"]["log"] == ["level=error msg=<worse>"]

    told(story)
