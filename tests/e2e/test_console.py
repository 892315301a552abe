"""The console in a real browser, against a real server with a freezer that is too warm."""

from collections.abc import Callable, Iterator

import httpx
import pytest
from playwright.sync_api import Browser, Page, Route, expect

from firmware_sim.scenarios.cast import FREEZER
from firmware_sim.scenarios.stage import Stage
from firmware_sim.scenarios.world import Board, World

pytest_plugins = ("browser",)
pytestmark = [pytest.mark.xdist_group("console"), pytest.mark.timeout(180)]

DEVICE = "freezer-hall-1"
DESK, PHONE = (1280, 900), (390, 844)
SEEN_MS = 20_000


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with Stage() as stage, World(stage) as made:
        made.start_server()
        auth = {"Authorization": f"Bearer {made.token}"}
        httpx.put(f"{made.url}/api/v1/customers/acme", json={"name": "ACME Söhne"}, headers=auth).raise_for_status()
        made.enrol(DEVICE, "freezer", serial="FZ-1", site="Market Hall 3", customer="acme")
        made.start_board(DEVICE, Board("freezer", "csv", seed=7))
        config = f'[[source]]\nname = "board"\nport = "{made.port(DEVICE)}"\nbaudrate = 115200\n{FREEZER}'
        made.start_agent(DEVICE, config)
        stage.wait_for("readings", lambda: (_device(made) or {}).get("latest"), most_s=60)
        made.fault(DEVICE, "overheat")
        stage.wait_for("a ticket", lambda: made.fleet.items("/api/v1/tickets"), most_s=60)
        yield made


def _device(world: World) -> dict[str, object] | None:
    found: dict[str, object] | None = world.fleet.get(f"/api/v1/devices/{DEVICE}")
    return found


@pytest.fixture(params=[DESK, PHONE], ids=["desk", "phone"])
def page(request: pytest.FixtureRequest, world: World, browser: Browser) -> Iterator[Page]:
    """A browser that has signed in; a script error on any page fails the test."""
    context = browser.new_context(viewport={"width": request.param[0], "height": request.param[1]}, base_url=world.url)
    opened = context.new_page()
    problems: list[str] = []
    opened.on("pageerror", lambda error: problems.append(str(error)))
    opened.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    opened.goto("/")
    opened.get_by_label("Token").fill(world.token)
    opened.get_by_role("button", name="Sign in").click()
    opened.wait_for_url("**/devices")
    expect(opened.locator("#live")).to_have_text("live", timeout=SEEN_MS)
    yield opened
    context.close()
    assert problems == []


def _overflow(page: Page) -> int:
    return int(page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))


def test_a_wrong_token_is_told_and_nothing_is_shown(world: World, browser: Browser):
    context = browser.new_context(base_url=world.url)
    opened = context.new_page()
    opened.goto(f"/devices/{DEVICE}")
    opened.get_by_label("Token").fill("flt_wrong")
    opened.get_by_role("button", name="Sign in").click()

    expect(opened.get_by_role("alert")).to_contain_text("not valid")
    assert "Market Hall" not in opened.content()
    context.close()


def test_all_devices_are_seen_at_a_glance(page: Page):
    row = page.get_by_role("row").filter(has_text=DEVICE)

    expect(row).to_contain_text("online", timeout=SEEN_MS)
    expect(row).to_contain_text("1 critical")
    expect(row).to_contain_text("Market Hall 3 · ACME Söhne")
    assert _overflow(page) == 0


def test_search_finds_by_serial_and_says_when_nothing_matches(page: Page):
    page.keyboard.press("/")
    page.keyboard.type("FZ-1")
    page.wait_for_url("**/devices?q=FZ-1**")
    expect(page.locator("#devices")).to_contain_text(DEVICE)

    page.get_by_role("searchbox").fill("acme")
    expect(page.locator("#devices")).to_contain_text(DEVICE)
    page.get_by_role("searchbox").fill("nothing like it")
    expect(page.locator("#devices")).to_contain_text("No device matches")


def test_a_search_beside_a_refresh_of_the_list_before_it_is_not_lost(page: Page):
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    def is_held() -> bool:
        page.evaluate("htmx.trigger('#devices', 'moved')")  # beside a refresh that was on its way it is dropped
        return bool(held)

    page.route("**/devices*", hold)
    _until(page, is_held)
    page.get_by_role("searchbox").fill("nothing like it")
    page.wait_for_timeout(500)  # by now the search is on its way, or waits

    for route in held:  # and what comes meanwhile
        route.continue_()
        page.wait_for_timeout(300)
    page.unroute("**/devices*", hold)

    expect(page.locator("#devices")).to_contain_text("No device matches")


def _until(page: Page, holds: Callable[[], bool]) -> None:
    for _ in range(SEEN_MS // 20):
        if holds():
            return
        page.wait_for_timeout(20)
    pytest.fail("it never came true")


def test_a_device_shows_live_values_its_chart_and_its_alarm(page: Page):
    page.get_by_role("link", name=DEVICE).click()
    page.wait_for_url(f"**/devices/{DEVICE}")

    expect(page.locator(".alarm")).to_contain_text("too-warm")
    expect(page.locator("#chart canvas")).to_be_visible()
    expect(page.locator("#chart-note")).to_contain_text("1 alarm (red)")
    expect(page.locator("#live")).to_have_text("live")
    value = page.locator("[data-series='board.temp'] .v")
    before = value.inner_text()
    expect(value).not_to_have_text(before, timeout=SEEN_MS)
    assert _overflow(page) == 0


def test_another_series_and_another_range_can_be_chosen(page: Page):
    page.goto(f"/devices/{DEVICE}")
    page.get_by_role("button", name="board.power").click()
    page.get_by_role("button", name="15 min").click()

    expect(page.locator("#chart")).to_have_attribute("data-series", "board.power")
    expect(page.get_by_role("button", name="15 min")).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#chart canvas")).to_be_visible()


def test_a_ticket_shows_its_evidence_and_takes_a_note(page: Page):
    page.get_by_role("link", name="Tickets").click()
    page.get_by_role("link", name="T-1").click()

    expect(page.locator("svg.spark").first).to_be_visible()
    expect(page.get_by_role("heading", level=1)).to_contain_text("too-warm")
    expect(page.locator("pre.log")).to_contain_text("level=info from=app")
    page.get_by_role("textbox", name="Note").fill("The fan is iced up.")
    page.get_by_role("button", name="Add note").click()
    expect(page.locator("#notes")).to_contain_text("The fan is iced up.")
    assert _overflow(page) == 0


def test_a_page_that_does_not_exist_says_so(world: World):
    answer = httpx.get(f"{world.url}/tickets/99", cookies={"fieldline_token": world.token})

    assert answer.status_code == 404
    assert "There is no ticket" in answer.text


@pytest.mark.parametrize("path", ["/nowhere", "/tickets/abc", "/devices/a/b"])
def test_an_address_that_nobody_knows_is_a_page_and_not_json(world: World, path: str):
    answer = httpx.get(f"{world.url}{path}", cookies={"fieldline_token": world.token})

    assert answer.status_code == 404
    assert answer.headers["content-type"].startswith("text/html")
    assert f"There is no page {path}" in answer.text


def test_the_api_still_answers_problems_beside_the_pages(world: World):
    answer = httpx.get(f"{world.url}/api/v1/nowhere", headers={"Authorization": f"Bearer {world.token}"})

    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("path", "headers", "status", "where"),
    [
        ("/devices?q=fz&presence=online", {}, 303, ("location", "/login?next=/devices%3Fq%3Dfz%26presence%3Donline")),
        ("/devices?q=fz", {"HX-Request": "true"}, 401, ("hx-redirect", "/login?next=/devices%3Fq%3Dfz")),
        ("/console/devices/x/points", {}, 401, ("location", None)),
    ],
)
def test_who_is_signed_out_is_asked_to_sign_in_where_they_were(
    world: World, path: str, headers: dict[str, str], status: int, where: tuple[str, str | None]
):
    answer = httpx.get(f"{world.url}{path}", headers=headers)

    assert answer.status_code == status
    assert answer.headers.get(where[0]) == where[1]


def test_a_form_from_another_site_changes_nothing(world: World):
    answer = httpx.post(
        f"{world.url}/tickets/1/assign",
        data={"assignee": "mallory"},
        cookies={"fieldline_token": world.token},
        headers={"Origin": "https://elsewhere.example", "Sec-Fetch-Site": "cross-site"},
    )

    assert answer.status_code == 409
    assert world.fleet.items("/api/v1/tickets")[0]["assignee"] != "mallory"


def test_a_token_that_may_only_read_sees_no_notes_and_no_forms(world: World):
    made = httpx.post(
        f"{world.url}/api/v1/tokens",
        json={"name": "wall", "scope": "read"},
        headers={"Authorization": f"Bearer {world.token}"},
    ).json()

    answer = httpx.get(f"{world.url}/tickets/1", cookies={"fieldline_token": made["token"]})

    assert answer.status_code == 200
    assert "Internal notes" not in answer.text
    assert "/assign" not in answer.text
