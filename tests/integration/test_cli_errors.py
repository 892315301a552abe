"""The command against a server that answers what one cannot order from the real one; errors as sentences and codes."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from starlette.responses import JSONResponse, Response, StreamingResponse
from stub_api import Answers, stub

from fleet.cli import main

T = 1_800_000_000_000_000


def problem(status: int, detail: str, hint: str = "", **headers: str) -> Response:
    body = {"type": "/problems/x", "title": "X", "status": status, "detail": detail, "hint": hint}
    return Response(json.dumps(body), status, headers, "application/problem+json")


def page(*items: dict[str, object], cursor: str | None = None) -> Response:
    return JSONResponse({"items": items, "next": cursor})


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    for name in ("FLEET_URL", "FLEET_TOKEN", "FLEET_CA"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def run(words: str, url: str, given: str = "") -> Result:
    return CliRunner().invoke(main, words.split(), input=given, env={"FLEET_URL": url, "FLEET_TOKEN": "flt_x"})


def asked_of(answers: Answers, words: str) -> tuple[Result, list[str]]:
    with stub(answers) as server:
        done = run(words, server.url)
        return done, [f"{one.method} {one.url.path}?{one.url.query}".rstrip("?") for one in server.asked]


def test_a_server_that_is_not_there_is_said_in_a_sentence_with_the_next_step():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"

        done = run("device list", url)

    assert done.exit_code == 1
    assert done.stderr.startswith(f"Error: {url} does not answer: connection refused\n")
    assert "fleet serve" in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(("words", "near"), [("devices", "device"), ("device lst", "list"), ("serv", "serve")])
def test_a_slip_in_a_command_is_answered_with_the_nearest(words: str, near: str):
    done = run(words, "http://127.0.0.1:9")

    assert done.exit_code == 2
    assert f"Did you mean {near}" in done.stderr


def test_without_a_token_nothing_is_asked():
    done = CliRunner().invoke(main, ["device", "list"])

    assert done.exit_code == 4
    assert "fleet login" in done.stderr


@pytest.mark.parametrize(
    ("status", "code"), [(401, 4), (403, 4), (404, 3), (409, 4), (413, 1), (422, 1), (500, 1), (503, 1)]
)
def test_an_answer_of_the_servers_has_its_exit_code_and_keeps_its_sentence(status: int, code: int):
    done, _ = asked_of({"/alarms/7": problem(status, "this is what happened", "and this is next")}, "alarm show 7")

    assert done.exit_code == code
    assert done.stderr.startswith("Error: this is what happened\n  and this is next")


def test_a_wrong_command_line_is_a_usage_error():
    assert run("device list --no-such", "http://127.0.0.1:1").exit_code == 2
    assert run("config set --product p --device d -", "http://127.0.0.1:1").exit_code == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("readings d board.temp --from -1h --to -2h", "lies after --to"),
        ("events d --from now --to 2020-01-01", "lies after --to"),
        ("ticket move 7 on_hold", "on_hold needs a reason; say --reason with one of: customer, parts, vendor"),
        ("ticket move 7 canceled --reason parts", "'parts' is no reason of canceled; say --reason with one of: dupl"),
    ],
)
def test_what_can_be_told_without_the_server_is_a_usage_error(words: str, said: str):
    done = run(words, "http://127.0.0.1:1")

    assert done.exit_code == 2
    assert said in " ".join(done.stderr.split())


def test_a_server_that_is_no_fleet_is_told_apart():
    done, _ = asked_of({"/devices": Response("<html>", 200)}, "device list")

    assert done.exit_code == 1
    assert "not as a fleet server does" in done.stderr


def test_a_device_that_is_not_known_names_the_nearest_ones():
    answers = {
        "/devices/freezer-abcdeg": problem(404, "there is no device 'freezer-abcdeg'"),
        "/devices": page({"id": "freezer-abcdef"}, {"id": "oven-zzzzzz"}),
    }

    done, _ = asked_of(answers, "device show freezer-abcdeg")

    assert done.exit_code == 3
    assert done.stderr.splitlines()[1] == "  Did you mean freezer-abcdef?"


def test_a_list_is_read_to_its_last_page():
    answers = {"/devices": [page({"id": "a"}, cursor="c1"), page({"id": "b"}, cursor="c2"), page({"id": "c"})]}

    done, asked = asked_of(answers, "device list --json")

    assert json.loads(done.stdout) == [{"id": "a"}, {"id": "b"}, {"id": "c"}]
    assert asked[1] == "GET /api/v1/devices?limit=1000&cursor=c1"


def test_a_limit_ends_the_list_and_asks_for_no_more():
    done, asked = asked_of({"/devices": page({"id": "a"}, {"id": "b"}, cursor="c")}, "device list --json --limit 2")

    assert [one["id"] for one in json.loads(done.stdout)] == ["a", "b"]
    assert asked == ["GET /api/v1/devices?limit=2"]


def test_an_empty_list_is_an_empty_array():
    done, _ = asked_of({"/alarms": page()}, "alarm list --json")

    assert json.loads(done.stdout) == []


def test_readings_that_break_off_are_an_error_and_not_an_end():
    async def broken() -> Iterator[str]:
        yield '{"t_us":1,"t":"x","v":1}\n'
        raise ConnectionResetError

    with stub({"/devices/d/readings": StreamingResponse(broken(), media_type="application/x-ndjson")}) as server:
        done = run("readings d s --json", server.url)

    assert done.exit_code == 1
    assert done.stdout == '{"t_us":1,"t":"x","v":1}\n'
    assert "What was printed is not all" in done.stderr


def test_login_keeps_the_token_after_the_server_has_taken_it(home: Path):
    with stub({"/whoami": JSONResponse({"name": "ana", "scope": "technician"})}) as server:
        done = CliRunner().invoke(main, ["login", server.url, "--name", "work"], input="flt_secret\n")
        listed = CliRunner().invoke(main, ["context", "list", "--json"])

    assert done.stdout == f"Signed in to {server.url} as ana (technician); the context is 'work'.\n"
    assert json.loads(listed.stdout) == [{"name": "work", "url": server.url, "current": True}]
    assert "flt_secret" in (home / "fieldline" / "contexts.json").read_text()
    assert server.asked[0].headers["Authorization"] == "Bearer flt_secret"


def test_login_keeps_no_token_that_the_server_refuses(home: Path):
    with stub({"/whoami": problem(401, "the token is not valid")}) as server:
        done = CliRunner().invoke(main, ["login", server.url], input="flt_wrong\n")

    assert done.exit_code == 4
    assert not (home / "fieldline").exists()


def test_a_reader_that_goes_away_ends_the_readings_in_silence():
    lines = "".join(f'{{"t_us":{T + n},"t":"x","v":{n}}}\n' for n in range(50_000))
    with stub({"/devices/d/readings": Response(lines, media_type="application/x-ndjson")}) as server:
        command = f"{sys.executable} -m fleet.cli readings d s --json | head -n 1"
        env = {**os.environ, "FLEET_URL": server.url, "FLEET_TOKEN": "flt_x"}
        done = subprocess.run(["sh", "-c", command], env=env, capture_output=True, text=True, check=True, timeout=60)

    assert done.stdout == f'{{"t_us":{T},"t":"x","v":0}}\n'
    assert done.stderr == ""


def _message(number: int) -> str:
    return f'id: {number}\nevent: ticket.opened\ndata: {{"id": {number}, "t_us": {T}, "text": "No. {number}"}}\n\n'


def test_watch_takes_a_lost_connection_up_where_it_broke_off_and_ends_well_on_interrupt():
    answers = {
        "/stream": [
            Response(_message(1) + _message(2) + "id: 3\ndata: half", media_type="text/event-stream"),
            problem(503, "too much at once"),
            Response(_message(3), media_type="text/event-stream"),
        ]
    }
    with stub(answers) as server:
        env = {**os.environ, "FLEET_URL": server.url, "FLEET_TOKEN": "flt_x", "PYTHONUNBUFFERED": "1"}
        command = [sys.executable, "-m", "fleet.cli", "watch", "--json"]
        with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as watch:
            assert watch.stdout is not None
            seen = [json.loads(watch.stdout.readline())["id"] for _ in range(3)]
            watch.send_signal(signal.SIGINT)
            _, complaints = watch.communicate(timeout=60)

    assert seen == [1, 2, 3]
    assert watch.returncode == 0
    assert [one.headers.get("Last-Event-ID") for one in server.asked][:3] == [None, "2", "2"]
    assert "Traceback" not in complaints
