"""The API as programs meet it: over HTTP, from a real server."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from batches import T0_US, events, segment, telemetry
from batches import event as row
from desks import ANA, DEVICE, MIN_US, S_US, Desk, a_desk, announce
from httpx import AsyncClient

from agent.wire.codec import config_hash
from agent.wire.messages import AlarmState, ConfigOutcome, Reported
from fleet.store import claim, reported

pytest_plugins = ("databases",)

RULES = '[[rule]]\nname = "too-warm"\nseries = "board.temp"\nabove = -5.0\nticket = true\n'


def test_a_device_is_listed_with_everything_at_a_glance(database_url: str) -> None:
    async def run() -> None:
        async with a_desk(database_url) as desk:
            await desk.fleet.take(telemetry([segment(1, [-18.0, None, 3])]))
            await announce(desk.fleet, at_us=T0_US)
            (item,) = (await desk.read.get("/devices")).json()["items"]
            assert (item["id"], item["product"], item["presence"]) == (DEVICE, "freezer", "online")
            assert (item["open_alarms"], item["open_tickets"], item["worst_severity"]) == (1, 1, "critical")
            assert (item["config"]["state"], item["last_seen_us"]) == ("unset", desk.fleet.clock())
            whole = (await desk.read.get(f"/devices/{DEVICE}")).json()
            assert whole["latest"]["board.temp"] == {
                "t": "2026-05-28T20:26:41.002000Z",
                "t_us": T0_US + S_US + 2000,
                "v": 3,
                "unit": "Cel",
            }
            assert (whole["gaps"], whole["quarantined"], whole["certificates"]) == (0, 0, [])
            for filters, count in (("presence=online", 1), ("presence=never", 0), ("q=S-FREE", 1), ("product=pump", 0)):
                assert len((await desk.read.get(f"/devices?{filters}")).json()["items"]) == count

    asyncio.run(run())


def test_lists_are_pages_that_follow_each_other(sqlite_url: str) -> None:
    async def run() -> None:
        devices = tuple(f"freezer-{i:06}" for i in range(7))
        async with a_desk(sqlite_url, devices=devices) as desk:
            assert await _all(desk.read, "/devices", limit=3) == list(devices)
            assert len(await _all(desk.read, "/configs/status", limit=2, key="device")) == 7
            wrong = await desk.read.get("/devices?cursor=!!")
            assert (wrong.status_code, "cursor" in wrong.json()["detail"]) == (422, True)

    asyncio.run(run())


async def _all(client: AsyncClient, path: str, *, limit: int, key: str = "id", **query: str) -> list[object]:
    found: list[object] = []
    cursor: str | None = None
    while True:
        wanted = {"limit": limit} | query | ({"cursor": cursor} if cursor else {})
        page = (await client.get(path, params=wanted)).json()
        found += [item[key] for item in page["items"]]
        cursor = page["next"]
        if cursor is None:
            return found


def test_errors_are_problems_with_a_hint(sqlite_url: str) -> None:
    async def run() -> None:
        async with a_desk(sqlite_url) as desk:
            anonymous = await desk.read.get("/devices", headers={"Authorization": "Bearer flt_wrong"})
            assert anonymous.status_code == 401
            assert anonymous.headers["www-authenticate"].startswith("Bearer")
            missing = await desk.read.get("/devices/freezer-999999")
            assert missing.headers["content-type"] == "application/problem+json"
            assert missing.json() == {
                "type": "/problems/not-found",
                "title": "Not Found",
                "status": 404,
                "detail": "there is no device 'freezer-999999'",
                "hint": "`fleet device list` shows all devices.",
                "instance": "/api/v1/devices/freezer-999999",
            }
            misspelt = (await desk.read.get("/tickets?stat=open")).json()
            assert (misspelt["status"], "state" in misspelt["hint"]) == (422, True)
            unknown = await desk.admin.post("/claims", json={"product": "freezer", "serail": "1"})
            assert (unknown.status_code, "serail" in unknown.json()["detail"]) == (422, True)
            assert (await desk.admin.post("/claims", content=b"{")).status_code == 422
            assert (await desk.admin.post("/configs", content=b"x" * 2_000_000)).status_code == 413
            assert (await desk.read.get("/nothing")).headers["content-type"] == "application/problem+json"
            assert (await desk.read.put("/devices")).status_code == 405

    asyncio.run(run())


@pytest.mark.parametrize(
    ("method", "path", "needs"),
    [
        ("POST", "/claims", "admin"),
        ("POST", f"/devices/{DEVICE}/revoke", "admin"),
        ("POST", "/configs", "admin"),
        ("GET", "/tokens", "admin"),
        ("POST", "/tokens", "admin"),
        ("DELETE", "/tokens/1", "admin"),
        ("GET", "/quarantine/1/body", "admin"),
        ("POST", "/quarantine/1/discard", "admin"),
        ("POST", "/alarms/1/ack", "technician"),
        ("POST", "/tickets/1/notes", "technician"),
        ("POST", "/tickets/1/assign", "technician"),
        ("POST", "/tickets/1/move", "technician"),
    ],
)
def test_a_scope_reaches_so_far_and_no_further(sqlite_url: str, method: str, path: str, needs: str) -> None:
    async def run() -> None:
        async with a_desk(sqlite_url) as desk:
            lower = (desk.read, desk.technician) if needs == "admin" else (desk.read,)
            enough = desk.admin if needs == "admin" else desk.technician
            bodies = {"/claims": {"product": "p"}, "/configs": {"product": "p", "toml": ""}, "/tokens": {"name": "x"}}
            body = bodies.get(path, {"text": "x"} if "notes" in path else {"assignee": "x", "to": "closed"})
            body = {"to": "closed"} if "move" in path else {"assignee": "x"} if "assign" in path else body
            arguments = {} if method != "POST" or "ack" in path or "revoke" in path else {"json": body}
            for client in lower:
                answer = await client.request(method, path, **arguments)
                assert (answer.status_code, answer.json()["type"]) == (403, "/problems/scope")
            assert (await enough.request(method, path, **arguments)).status_code not in (401, 403, 422)

    asyncio.run(run())


def test_readings_come_as_a_stream_without_limit_and_as_pages(database_url: str) -> None:
    async def run() -> None:
        async with a_desk(database_url) as desk:
            count = 0
            for i in range(1, 6):
                values = [float(n) for n in range(count, count + 2000)]
                count += len(values)
                await desk.fleet.take(telemetry([segment(i, values, t0_us=T0_US + i * 10 * S_US)]))
            path = f"/devices/{DEVICE}/readings?series=board.temp"
            lines = [json.loads(line) async for line in _lines(desk.read, path)]
            assert [line["v"] for line in lines] == list(range(10_000))
            assert [line["t_us"] for line in lines] == sorted(line["t_us"] for line in lines)
            assert lines[0] == {"t_us": T0_US + 10 * S_US, "t": "2026-05-28T20:26:50.000000Z", "v": 0.0}
            assert len([line async for line in _lines(desk.read, f"{path}&limit=5")]) == 5
            plain = path.partition("?")[0]
            assert await _all(desk.read, plain, limit=999, key="v", series="board.temp") == list(range(10_000))
            span = f"&from={T0_US + 10 * S_US}&to={T0_US + 10 * S_US + 3000}"
            assert [item["v"] for item in (await desk.read.get(path + span)).json()["items"]] == [0, 1, 2]
            assert [line async for line in _lines(desk.read, f"{path}.none")] == []

    asyncio.run(run())


async def _lines(client: AsyncClient, path: str) -> AsyncIterator[str]:
    async with client.stream("GET", path, headers={"Accept": "application/x-ndjson"}) as answer:
        assert answer.status_code == 200
        async for line in answer.aiter_lines():
            yield line


def test_a_reader_who_goes_away_gives_the_database_its_connection_back(sqlite_url: str) -> None:
    async def run() -> None:
        async with a_desk(sqlite_url) as desk:
            for i in range(1, 40):
                await desk.fleet.take(telemetry([segment(i, [0.5] * 4000)]))
            path = f"/devices/{DEVICE}/readings?series=board.temp"
            for _ in range(20):  # more than the streams that may be open at once
                async with desk.read.stream("GET", path, headers={"Accept": "application/x-ndjson"}) as answer:
                    assert answer.status_code == 200
                    async for _line in answer.aiter_lines():
                        break

    asyncio.run(run())


def test_points_keep_every_peak(sqlite_url: str) -> None:
    async def run() -> None:
        async with a_desk(sqlite_url) as desk:
            values = [1.0] * 1500 + [99.0] + [1.0] * 1500
            await desk.fleet.take(telemetry([segment(1, values, t0_us=T0_US)]))
            path = f"/devices/{DEVICE}/series?names=board.temp,board.none&from={T0_US}&to={T0_US + 4 * S_US}"
            few, none = (await desk.read.get(f"{path}&points=50")).json()["series"]
            assert (few["v"], max(few["max"]), min(few["min"]), few["unit"]) == (None, 99.0, 1.0, "Cel")
            assert (none["name"], none["t"], none["v"]) == ("board.none", [], [])
            whole = (await desk.read.get(f"{path}&points=5000")).json()["series"][0]
            assert (whole["v"], whole["min"], whole["bucket_s"], whole["silences"]) == (values, None, 0, [])
            assert whole["t"][0] == T0_US / 1e6

    asyncio.run(run())


def test_what_was_never_measured_is_told_as_a_silence(sqlite_url: str) -> None:
    async def run() -> None:
        async with a_desk(sqlite_url) as desk:
            rows = [segment(1, [1.0] * 200, t0_us=T0_US), segment(2, [2.0] * 200, t0_us=T0_US + 9 * S_US)]
            await desk.fleet.take(telemetry(rows))
            path = f"/devices/{DEVICE}/series?names=board.temp&from={T0_US}&to={T0_US + 10 * S_US}"
            for points in (5000, 200):
                (drawn,) = (await desk.read.get(f"{path}&points={points}")).json()["series"]
                ((start, end),) = drawn["silences"]
                assert T0_US / 1e6 <= start < T0_US / 1e6 + 0.3
                assert end >= T0_US / 1e6 + 8.9
            none = (await desk.read.get(f"/devices/{DEVICE}/series?names=,")).status_code
            assert none == 422

    asyncio.run(run())


def test_times_are_taken_in_four_spellings_and_slips_are_told(sqlite_url: str) -> None:
    async def run() -> None:
        async with a_desk(sqlite_url) as desk:
            desk.fleet.clock.now_us = T0_US + 10 * MIN_US
            await desk.fleet.take(telemetry([segment(1, [1.0], t0_us=T0_US)]))
            path = f"/devices/{DEVICE}/readings?series=board.temp&from="
            for begin, count in (
                ("-10m", 1),
                ("-9.5m", 0),
                ("now", 0),
                (str(T0_US), 1),
                ("2026-05-28T20:26:40Z", 1),
                ("2026-05-28T22:26:40%2B02:00", 1),
                ("2026-05-28T20:26:41Z", 0),
            ):
                assert len((await desk.read.get(path + begin)).json()["items"]) == count, begin
            for slip in ("yesterday", "2026-05-28T20:26:40", "1780000000", "1780000000000", "-5y", "1" * 30):
                assert (await desk.read.get(path + slip)).status_code == 422, slip

    asyncio.run(run())


def test_a_ticket_is_worked_on_from_opened_to_repaired(database_url: str) -> None:
    async def run() -> None:
        async with a_desk(database_url) as desk:
            await announce(desk.fleet, at_us=T0_US)
            (item,) = (await desk.read.get("/tickets?state=open")).json()["items"]
            assert (item["ref"], item["series"], item["rule"], item["state"]) == (
                "T-1",
                "board.temp",
                "too-warm",
                "new",
            )
            assert item["moves"] == ["triaged", "assigned", "on_hold", "canceled"]
            technician = desk.technician
            assigned = await technician.post("/tickets/T-1/assign", json={"assignee": "ana"})
            assert (assigned.json()["state"], assigned.json()["assignee"]) == ("assigned", "ana")
            refused = await technician.post("/tickets/1/move", json={"to": "resolved"})
            assert (refused.status_code, "repaired" in refused.json()["hint"]) == (409, True)
            moved = await technician.post("/tickets/t-1/move", json={"to": "on_hold", "reason": "parts"})
            assert (moved.json()["state"], moved.json()["reason"]) == ("on_hold", "parts")
            assert (await technician.post("/tickets/1/move", json={"to": "assigned"})).json()["reason"] == ""
            assert (await technician.post("/tickets/1/move", json={"to": "repaired"})).json()["state"] == "repaired"
            origin = {"X-Fieldline-Origin": "cli"}
            noted = await technician.post("/tickets/1/notes", json={"text": "new seal"}, headers=origin)
            assert noted.status_code == 201
            whole = (await technician.get("/tickets/1")).json()
            assert [one["text"] for one in whole["notes"]] == ["new seal"]
            assert whole["evidence"]["device"]["serial"] == f"S-{DEVICE}"
            last = whole["events"][-1]
            assert (last["kind"], last["actor"], last["origin"]) == ("ticket.noted", "user:technician-1", "cli")
            assert len((await desk.read.get("/tickets?assignee=ana")).json()["items"]) == 1
            assert (await desk.read.get("/tickets/T-77")).status_code == 404
            assert (await desk.read.get("/tickets/seven")).status_code == 422

    asyncio.run(run())


def test_notes_never_leave_for_a_token_that_may_only_read(sqlite_url: str) -> None:
    async def run() -> None:
        async with a_desk(sqlite_url) as desk:
            await announce(desk.fleet, at_us=T0_US)
            await desk.technician.post("/tickets/1/notes", json={"text": "xylophone broke"})
            assert (await desk.read.get("/tickets/1")).json()["notes"] is None
            document = (await desk.read.get("/openapi.json")).json()
            for path, operations in document["paths"].items():
                if "get" in operations and "stream" not in path:
                    here = path.removeprefix("/api/v1")
                    for name, value in {"device_id": DEVICE, "series": "board.temp"}.items():
                        here = here.replace(f"{{{name}}}", value)
                    here = here.replace("{ticket_id}", "1").replace("{alarm_id}", "1").replace("{revision}", "1")
                    query = {"series": "board.temp", "device": DEVICE, "q": "xylophone"}
                    known = {one["name"] for one in operations["get"].get("parameters", ())}
                    wanted = {name: value for name, value in query.items() if name in known}
                    answer = await desk.read.get(here, params=wanted)
                    assert "xylophone" not in answer.text, path

    asyncio.run(run())


def test_an_alarm_is_listed_shown_and_acknowledged(sqlite_url: str) -> None:
    async def run() -> None:
        async with a_desk(sqlite_url) as desk:
            await announce(desk.fleet, at_us=T0_US)
            await announce(desk.fleet, AlarmState.CLEARED, at_us=T0_US + 1)
            await announce(desk.fleet, at_us=T0_US + 2)
            assert [one["id"] for one in (await desk.read.get("/alarms")).json()["items"]] == [2, 1]
            assert [one["id"] for one in (await desk.read.get("/alarms?state=open")).json()["items"]] == [2]
            assert (await desk.read.get("/alarms?state=pending&severity=minor")).json()["items"] == []
            done = (await desk.technician.post("/alarms/2/ack")).json()
            assert (done["acked_by"], done["acked_us"]) == ("user:technician-1", desk.fleet.clock())
            shown = (await desk.read.get("/alarms/2")).json()
            assert (shown["ticket"], shown["value"], shown["condition"]) == (1, 1.5, "above -5")

    asyncio.run(run())


def test_a_config_is_set_seen_applied_and_told_apart(database_url: str) -> None:
    async def run() -> None:
        async with a_desk(database_url) as desk:
            made = await desk.admin.post("/configs", json={"product": "freezer", "toml": RULES})
            assert (made.status_code, made.json()["revision"], made.json()["new"]) == (201, 1, True)
            again = await desk.admin.post("/configs", json={"product": "freezer", "toml": RULES})
            assert (again.status_code, again.json()["revision"], again.json()["new"]) == (200, 1, False)
            assert (await _standing(desk))["state"] == "pending"
            await _report(desk, Reported(1, ConfigOutcome.APPLIED, 1, config_hash(RULES), ""))
            assert (await _standing(desk))["state"] == "in_sync"
            own = RULES.replace("-5.0", "-6.0")
            assert (await desk.admin.post("/configs", json={"device": DEVICE, "toml": own})).json()["revision"] == 2
            diff = (await desk.read.get(f"/configs/diff?device={DEVICE}")).json()["diff"]
            assert ("-above = -5.0\n+above = -6.0\n" in diff, diff.startswith("--- applied 1\n+++ desired 2\n")) == (
                True,
                True,
            )
            await _report(desk, Reported(2, ConfigOutcome.REFUSED, 1, config_hash(RULES), "no such port"))
            standing = await _standing(desk)
            assert (standing["state"], standing["reason"], standing["applied"]) == ("refused", "no such port", 1)
            kinds = [one["kind"] for one in (await desk.read.get("/events?kind=config.")).json()["items"]]
            assert kinds == ["config.set", "config.applied", "config.set", "config.refused"]
            listed = (await desk.read.get(f"/configs?device={DEVICE}")).json()["items"]
            assert [one["revision"] for one in listed] == [2]
            assert (await desk.read.get("/configs/2")).json()["toml"] == own

    asyncio.run(run())


def test_a_config_is_tried_rolled_back_and_can_be_set_again_as_it_is(database_url: str) -> None:
    async def run() -> None:
        async with a_desk(database_url) as desk:
            await desk.admin.post("/configs", json={"device": DEVICE, "toml": RULES})
            await _report(desk, Reported(1, ConfigOutcome.TRYING, 1, config_hash(RULES), ""))
            assert (await _standing(desk))["state"] == "trying"
            again = await desk.admin.post("/configs", json={"device": DEVICE, "toml": RULES})
            assert (again.status_code, again.json()["revision"]) == (200, 1)
            await _report(desk, Reported(1, ConfigOutcome.ROLLED_BACK, 0, "", "silent."))
            standing = await _standing(desk)
            assert (standing["state"], standing["reason"], standing["applied"]) == ("rolled_back", "silent.", 0)
            again = await desk.admin.post("/configs", json={"device": DEVICE, "toml": RULES})
            assert (again.status_code, again.json()["revision"]) == (201, 2)
            assert (await _standing(desk))["state"] == "pending"
            kinds = [one["kind"] for one in (await desk.read.get("/events?kind=config.")).json()["items"]]
            assert kinds == ["config.set", "config.trying", "config.rolled_back", "config.set"]

    asyncio.run(run())


async def _standing(desk: Desk) -> dict[str, object]:
    by_device = (await desk.read.get(f"/devices/{DEVICE}/config")).json()
    (listed,) = (await desk.read.get(f"/configs/status?device={DEVICE}")).json()["items"]
    assert listed == by_device
    return dict(listed)


async def _report(desk: Desk, said: Reported) -> None:
    await desk.fleet.db.write(
        lambda conn: reported.record(conn, DEVICE, said, t_us=desk.fleet.clock(), received_us=desk.fleet.clock())
    )


@pytest.mark.parametrize(
    ("toml", "says"),
    [
        ("[[rule]\n", "not valid TOML"),
        ('[[rule]]\nname="x"\nseries="a"\nabove=1\nseverty="minor"\n', "did you mean 'severity'?"),
        ('[[rule]]\nname="x"\nseries="a"\nabove=1\nseverity="grave"\n', "rule[0].severity"),
        ('[[rule]]\nname="x"\nseries="a"\n', "rule[0].above"),
    ],
)
def test_a_config_that_cannot_be_followed_is_refused_with_its_key(sqlite_url: str, toml: str, says: str) -> None:
    async def run() -> None:
        async with a_desk(sqlite_url) as desk:
            answer = await desk.admin.post("/configs", json={"product": "freezer", "toml": toml})
            assert (answer.status_code, says in answer.json()["detail"]) == (422, True), answer.json()
            assert (await desk.read.get("/configs")).json()["items"] == []
            nobody = await desk.admin.post("/configs", json={"product": "freezr", "toml": ""})
            assert (nobody.status_code, nobody.json()["hint"]) == (404, "Did you mean 'freezer'?")

    asyncio.run(run())


def test_anything_is_found_and_the_likeliest_comes_first(sqlite_url: str) -> None:
    async def run() -> None:
        async with a_desk(sqlite_url, devices=(DEVICE, "freezer-000012")) as desk:
            await announce(desk.fleet, at_us=T0_US)
            for q, first in (
                (DEVICE, ("device", DEVICE, 0)),
                (f"s-{DEVICE}", ("device", DEVICE, 0)),
                ("T-1", ("ticket", "1", 0)),
                ("1", ("ticket", "1", 0)),
                ("A-1", ("alarm", "1", 0)),
                ("freezer", ("product", "freezer", 0)),
                ("000012", ("device", "freezer-000012", 2)),
                ("too-warm", ("ticket", "1", 2)),
            ):
                (hit, *_) = (await desk.read.get("/find", params={"q": q})).json()["items"]
                assert (hit["noun"], hit["id"], hit["rank"]) == first, q
            for nothing in ("%", "_", "zzz", " "):
                assert (await desk.read.get("/find", params={"q": nothing})).json()["items"] == [], nothing

    asyncio.run(run())


def test_tokens_are_made_shown_once_and_ended(sqlite_url: str) -> None:
    async def run() -> None:
        async with a_desk(sqlite_url) as desk:
            made = (await desk.admin.post("/tokens", json={"name": "ben", "scope": "read", "expires_s": 60})).json()
            assert (made["token"].startswith("flt_"), len(made["token"])) == (True, 47)
            as_ben = {"Authorization": f"Bearer {made['token']}"}
            who = (await desk.read.get("/whoami", headers=as_ben)).json()
            assert (who["name"], who["scope"], who["server_version"]) == ("ben", "read", "9.9")
            listed = await desk.admin.get("/tokens")
            assert "flt_" not in listed.text
            desk.fleet.clock.forward(61)
            assert (await desk.read.get("/whoami", headers=as_ben)).status_code == 401
            ended = await desk.admin.delete("/tokens/2")
            assert ended.json()["revoked_us"] == desk.fleet.clock()
            assert (await desk.technician.get("/whoami")).status_code == 401

    asyncio.run(run())


def test_a_device_is_revoked_watched_and_its_garbage_downloaded(sqlite_url: str) -> None:
    async def run() -> None:
        async with a_desk(sqlite_url) as desk:
            await desk.fleet.take(b"\x00garbage")
            (kept,) = (await desk.read.get(f"/quarantine?device={DEVICE}")).json()["items"]
            body = await desk.admin.get(f"/quarantine/{kept['id']}/body")
            assert (kept["place"], body.content) == ("$", b"\x00garbage")
            assert (await desk.read.post(f"/devices/{DEVICE}/watch", json={"seconds": 30})).status_code == 202
            assert ("watch 30", DEVICE) in desk.link.asked
            gone = (await desk.admin.post(f"/devices/{DEVICE}/revoke", json={"reason": "stolen"})).json()
            assert gone["revoked_us"] == desk.fleet.clock()
            listed = (await desk.read.get("/devices?revoked=true")).json()["items"]
            assert [one["id"] for one in listed] == [DEVICE]

    asyncio.run(run())


def test_events_are_read_in_order_from_any_of_them_on(sqlite_url: str) -> None:
    async def run() -> None:
        async with a_desk(sqlite_url) as desk:
            await desk.fleet.take(events([row(i, f"port.{n}") for i, n in enumerate(("lost", "found"), start=1)]))
            await announce(desk.fleet, at_us=T0_US, ticket=False)
            mine = (await desk.read.get(f"/devices/{DEVICE}/events")).json()["items"]
            kinds = [one["kind"] for one in mine]
            assert sorted(kinds) == ["alarm.raised", "device.online", "port.found", "port.lost"]
            after = mine[1]["id"]
            rest = (await desk.read.get(f"/events?after={after}&device={DEVICE}")).json()["items"]
            assert [one["id"] for one in rest] == [one["id"] for one in mine[2:]]
            newest = await _all(desk.read, f"/devices/{DEVICE}/events", limit=3, order="newest")
            assert newest == [one["id"] for one in reversed(mine)]
            lost = (await desk.read.get("/events?kind=port.lost,alarm.&noun=device")).json()["items"]
            assert [one["kind"] for one in lost] == ["port.lost"]

    asyncio.run(run())


def test_health_needs_no_token_and_claims_go_to_their_issuer(sqlite_url: str) -> None:
    async def run() -> None:
        async with a_desk(sqlite_url) as desk:
            nobody = {"Authorization": ""}
            healthy = await desk.read.get(f"{desk.url}/healthz", headers=nobody)
            assert healthy.json() == {"status": "ok", "version": "9.9", "link": True}
            assert (await desk.read.get("/openapi.json", headers=nobody)).json()["openapi"] == "3.1.0"
            made = await desk.admin.post("/claims", json={"product": "freezer", "serial": None, "expires_s": 60})
            assert (made.status_code, made.json()["claim"]) == (201, "fl1/user:admin-1")

    asyncio.run(run())


def test_a_device_follows_its_product_again_once_its_own_config_is_unset(database_url: str) -> None:
    async def run() -> None:
        async with a_desk(database_url) as desk:
            own = (await desk.admin.post("/configs", json={"device": DEVICE, "toml": "# own"})).json()["revision"]
            path = f"/devices/{DEVICE}/config"
            assert (await desk.technician.delete(path)).status_code == 403
            assert (await desk.admin.delete("/devices/nobody/config")).status_code == 404

            alone = (await desk.admin.delete(path)).json()
            assert (alone["desired"], alone["state"]) == (0, "unset")
            again = (await desk.admin.post("/configs", json={"device": DEVICE, "toml": "# own"})).json()
            assert (again["revision"] > own, again["unset"]) == (True, None)
            product = (await desk.admin.post("/configs", json={"product": "freezer", "toml": ""})).json()["revision"]
            assert (await desk.read.get(path)).json()["desired"] == again["revision"]
            for _ in range(2):
                assert (await desk.admin.delete(path)).json()["desired"] == product
            listed = (await desk.read.get(f"/configs?device={DEVICE}")).json()["items"]
            assert [one["unset_us"] is None for one in listed] == [False, False]
            told = [one.text for one in await desk.fleet.events("config.unset")]
            assert told == [
                f"Config {own}, {DEVICE}'s own, was unset; its product has none: it keeps what it runs.",
                f"Config {again['revision']}, {DEVICE}'s own, was unset; it follows its product's config {product}.",
            ]

    asyncio.run(run())


def test_claims_are_listed_without_their_secrets_and_revoked_by_an_admin(database_url: str) -> None:
    async def run() -> None:
        async with a_desk(database_url) as desk:
            facts = {"device_id": "pump-1", "serial": "P-1", "site": "", "expires_s": 3600}
            now_us = desk.fleet.clock()
            _, made = await desk.fleet.db.write(
                lambda conn: claim.create(conn, "pump", **facts, now_us=now_us, by=ANA)  # type: ignore[arg-type] # by name
            )
            (item,) = (await desk.read.get("/claims?state=open&device=pump-1")).json()["items"]
            assert (item["id"], item["state"], item["serial"]) == (made.id, "open", "P-1")
            prepared = (await desk.read.get("/devices/pump-1")).json()
            assert (prepared["presence"], prepared["enrolled"], prepared["created_us"]) == ("never", None, now_us)

            path = f"/claims/{made.id}/revoke"
            assert (await desk.technician.post(path)).status_code == 403
            assert (await desk.admin.post("/claims/999/revoke")).status_code == 404
            assert (await desk.admin.post(path)).json()["state"] == "revoked"
            assert (await desk.read.get("/claims?state=open")).json()["items"] == []
            assert (await desk.read.get("/devices/pump-1")).status_code == 404

    asyncio.run(run())
