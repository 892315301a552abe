"""Customers: added once however often, whose devices are, and what a transfer cuts."""

import asyncio
import json
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from batches import T0_US, segment, telemetry
from click.testing import CliRunner, Result
from desks import ANA, DEVICE, Desk, a_desk
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from agent.wire.limits import MAX_TIME_US, MIN_TIME_US
from fleet.cli import main
from fleet.core.actor import Scope
from fleet.core.ownership import Transfer, tenures
from fleet.store import claim, ownership

pytest_plugins = ("databases",)

OTHER = "freezer-000002"
ACME = {"name": "ACME Süd & Söhne 株式会社", "external_id": "D-10023"}


def told(url: str, story: Callable[[Desk], Coroutine[Any, Any, Any]]) -> Any:  # noqa: ANN401 - what the story returns
    async def whole() -> Any:  # noqa: ANN401
        async with a_desk(url, devices=(DEVICE, OTHER)) as desk:
            await desk.admin.put("/customers/acme", json=ACME)
            await desk.admin.put("/customers/zenit", json={"name": "Zenit"})
            return await story(desk)

    return asyncio.run(whole())


async def moved(desk: Desk, to: str | None, *, device: str = DEVICE, at_us: int | None = None) -> Any:  # noqa: ANN401
    at = {} if at_us is None else {"at": str(at_us)}
    return await desk.admin.post(f"/devices/{device}/transfer", json={"customer": to, **at})


def test_an_import_that_runs_again_makes_nobody_twice(database_url: str):
    async def story(desk: Desk) -> tuple[list[Any], list[str], list[Any]]:
        again = await desk.admin.put("/customers/acme", json=ACME)
        renamed = await desk.admin.put("/customers/acme", json={"name": "ACME"})
        taken = await desk.admin.put("/customers/other", json={"name": "Other", "external_id": "D-10023"})
        kinds = [one.kind for one in await desk.fleet.events("customer.")]
        listed = (await desk.read.get("/customers", params={"external_id": "D-10023"})).json()["items"]
        return [again, renamed, taken], kinds, listed

    (again, renamed, taken), kinds, listed = told(database_url, story)

    assert (again.json()["change"], again.json()["name"]) == ("none", ACME["name"])
    assert (renamed.json()["change"], renamed.json()["external_id"]) == ("changed", "D-10023")
    assert (taken.status_code, "is customer acme's" in taken.text) == (409, True)
    assert kinds == ["customer.created", "customer.created", "customer.changed"]
    assert [(one["id"], one["name"]) for one in listed] == [("acme", "ACME")]


@pytest.mark.parametrize(
    ("customer", "facts"),
    [
        ("Acme", {"name": "x"}),
        ("acme", {"name": ""}),
        ("acme", {"name": "  "}),
        ("acme", {"name": "x" * 257}),
        ("acme", {"name": "a\0b"}),
        ("acme", {"name": "a\x1b[2J"}),
        ("acme", {"name": "a", "external_id": "x" * 129}),
        ("acme", {"name": "a", "colour": "red"}),
    ],
)
def test_what_is_no_customer_is_refused(sqlite_url: str, customer: str, facts: dict[str, str]):
    async def story(desk: Desk) -> int:
        return (await desk.admin.put(f"/customers/{customer}", json=facts)).status_code

    assert told(sqlite_url, story) == 422


def test_a_transfer_is_one_event_with_from_and_to_and_cuts_the_history(database_url: str):
    async def story(desk: Desk) -> tuple[Any, list[Any], list[Any], int]:
        await moved(desk, "acme", at_us=T0_US)
        whole = await moved(desk, "zenit", at_us=T0_US + 60)
        same = await moved(desk, "zenit")
        events = await desk.fleet.events("device.transferred")
        owners = (await desk.read.get(f"/devices/{DEVICE}/owners")).json()["items"]
        return whole.json(), events, owners, same.status_code

    whole, events, owners, same = told(database_url, story)

    assert (whole["customer"], whole["customer_name"], same) == ("zenit", "Zenit", 200)
    assert [(one.t_us, one.device_id, one.data) for one in events] == [
        (T0_US, DEVICE, {"from": None, "to": "acme"}),
        (T0_US + 60, DEVICE, {"from": "acme", "to": "zenit"}),
    ]
    assert [(one["customer"], one["from_us"], one["to_us"]) for one in owners] == [
        (None, None, T0_US),
        ("acme", T0_US, T0_US + 60),
        ("zenit", T0_US + 60, None),
    ]


def test_a_transfer_that_history_forbids_is_refused(sqlite_url: str):
    async def story(desk: Desk) -> list[tuple[int, str]]:
        await moved(desk, "acme", at_us=T0_US + 60)
        asked = [
            await moved(desk, "zenit", at_us=T0_US),
            await moved(desk, "zenit", at_us=desk.fleet.clock.now_us + 1_000_000),
            await moved(desk, "nobody-known"),
            await moved(desk, "acme", device="freezer-999999"),
            await desk.technician.post(f"/devices/{DEVICE}/transfer", json={"customer": None}),
        ]
        return [(one.status_code, one.json()["detail"]) for one in asked]

    said = told(sqlite_url, story)

    assert [status for status, _ in said] == [409, 422, 404, 404, 403]
    assert said[0][1] == f"{DEVICE} was transferred after that already, to acme"
    assert said[2][1] == "there is no customer 'nobody-known'"


def test_devices_are_chosen_and_found_by_their_customer(database_url: str):
    async def story(desk: Desk) -> tuple[dict[str, list[str]], list[Any]]:
        await moved(desk, "acme")
        await desk.fleet.take(telemetry([segment(1, [1.0])]), device_id=DEVICE)
        await desk.fleet.take(telemetry([segment(1, [1.0])]), device_id=OTHER)
        said = (
            "customer:acme",
            "-customer:acme",
            'customer:"ACME Süd & Söhne 株式会社"',
            "customer:acme*",
            'customer:""',
        )
        chosen = {}
        for one in said:
            answer = await desk.read.get("/fleet/latest", params={"series": "board.temp", "selector": one})
            chosen[one] = [item["device"] for item in answer.json()["items"]]
        for name, value in (("customer", "acme"), ("q", "hne 株")):
            listed = await desk.read.get("/devices", params={name: value})
            chosen[name] = [item["id"] for item in listed.json()["items"]]
        found = [(await desk.read.get("/find", params={"q": q})).json()["items"] for q in ("D-10023", "株式")]
        return chosen, found

    chosen, found = told(database_url, story)

    assert chosen == {
        "customer:acme": [DEVICE],
        "-customer:acme": [OTHER],
        'customer:"ACME Süd & Söhne 株式会社"': [DEVICE],
        "customer:acme*": [DEVICE],
        'customer:""': [OTHER],
        "customer": [DEVICE],
        "q": [DEVICE],
    }
    assert [(one["noun"], one["id"], one["rank"]) for hits in found for one in hits] == [
        ("customer", "acme", 0),
        ("customer", "acme", 2),
    ]


def test_a_claim_says_whose_the_device_is_and_one_that_is_taken_back_says_so_too(database_url: str):
    async def story(desk: Desk) -> tuple[list[Any], list[Any]]:
        async def claimed(device_id: str, customer_id: str | None) -> int:
            facts = {"serial": "", "site": "", "expires_s": 3600, "now_us": T0_US, "by": ANA}
            work = lambda conn: claim.create(conn, "oven", device_id=device_id, customer_id=customer_id, **facts)  # noqa: E731
            return (await desk.fleet.db.write(work))[1].id

        await claimed("oven-1", "acme")
        await claimed("oven-1", None)  # a label that was lost: it stays whose it is
        given = (await desk.read.get("/devices/oven-1")).json()
        number = await claimed("oven-2", "acme")
        await desk.admin.post(f"/claims/{number}/revoke")
        owned = await desk.fleet.db.read(lambda conn: ownership.of(conn, "oven-2"))
        return [given["customer"]], [one.customer_id for one in owned]

    given, owned = told(database_url, story)

    assert given == ["acme"]
    assert owned[-1] is None


def test_the_transfers_of_a_device_are_found_by_their_index(sqlite_url: str):
    async def story(desk: Desk) -> str:
        plan = "EXPLAIN QUERY PLAN SELECT data FROM event WHERE kind = 'device.transferred' AND device_id IN ('a', 'b')"
        return str(await desk.fleet.db.read(lambda conn: conn.execute(text(plan)).all()))

    assert "ix_event_transferred" in told(sqlite_url, story)


def test_the_command_adds_transfers_and_shows(sqlite_url: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "200")
    words = (
        ("customer", "add", "acme", "--name", "ACME"),
        ("customer", "add", "acme", "--name", "ACME"),
        ("device", "transfer", DEVICE, "--to", "acme", "--yes"),
        ("device", "owners", DEVICE),
        ("device", "show", DEVICE),
        ("device", "list", "--customer", "acme"),
        ("customer", "show", "acme"),
        ("customer", "list", "--json"),
        ("find", "D-10023"),
        ("device", "transfer", DEVICE, "--to-nobody", "--yes"),
        ("device", "transfer", DEVICE, "--to-nobody", "--to", "acme"),
        ("device", "transfer", DEVICE, "--to", "acne", "--yes"),
    )

    async def story(desk: Desk) -> list[Result]:
        env = {"FLEET_URL": desk.url, "FLEET_TOKEN": desk.secrets[Scope.ADMIN]}
        return [await asyncio.to_thread(CliRunner().invoke, main, each, env=env, prog_name="fleet") for each in words]

    done = told(sqlite_url, story)

    changed, same, moved_, owners, shown, listed, customer, everybody, found, freed, usage, unknown = done
    assert [one.exit_code for one in done] == [0] * 10 + [2, 3], [one.output for one in done]
    assert changed.output == "acme is changed: ACME.\n"
    assert same.output == "acme is known already, just so: ACME.\n"
    assert moved_.output == f"{DEVICE} is ACME (acme)'s.\n"
    assert "nobody" in owners.output
    assert "ACME (acme)" in owners.output
    assert "ACME (acme)" in shown.output
    assert DEVICE in listed.output
    assert OTHER not in listed.output
    assert DEVICE in customer.output
    assert [one["devices"] for one in json.loads(everybody.output)] == [1, 0]
    assert "acme" in found.output
    assert freed.output == f"{DEVICE} is nobody's.\n"
    assert "--to CUSTOMER" in usage.output
    assert "there is no customer 'acne'" in unknown.output


TRANSFERS = st.lists(
    st.builds(Transfer, st.integers(MIN_TIME_US, MAX_TIME_US - 1), st.sampled_from([None, "a", "b"])), max_size=8
).map(lambda some: sorted(some, key=lambda one: one.at_us))


@given(TRANSFERS, st.integers(MIN_TIME_US, MAX_TIME_US - 1))
def test_at_every_moment_a_device_is_whose_its_last_transfer_made_it(transfers: list[Transfer], at_us: int):
    owned = tenures(transfers)

    assert (owned[0].from_us, owned[-1].to_us) == (MIN_TIME_US, MAX_TIME_US)
    assert [one.to_us for one in owned[:-1]] == [one.from_us for one in owned[1:]]
    before = [one for one in transfers if one.at_us <= at_us]
    (there,) = [one for one in owned if one.from_us <= at_us < one.to_us]
    assert there.customer_id == (before[-1].customer_id if before else None)
