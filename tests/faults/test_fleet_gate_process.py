"""`fleet serve` as a process: how it starts, how it ends, and what it says where it cannot start."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

PATIENCE_S = 60.0
STOP_S = 5.0
FREE = ("--api-port", "0", "--gateway-port", "0", "--link-port", "0")


@contextmanager
def serving(data: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run `fleet serve` until the block ends; yields it and its first line."""
    command = [sys.executable, "-m", "fleet.cli", "serve", "--data", str(data), *(arguments or FREE)]
    with (data.parent / "log").open("a") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        assert process.stdout is not None
        yield process, process.stdout.readline()
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def fails(*arguments: str) -> tuple[int, str]:
    """Run `fleet serve` that cannot start; returns its exit code and what it said."""
    command = [sys.executable, "-m", "fleet.cli", "serve", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr


def until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, f"never came true: {what}"
        time.sleep(0.05)


def brokers(data: Path) -> list[int]:
    pids = [int(path.stem.rpartition("_")[2]) for path in (data / "nats").glob("*.ports")]
    return [pid for pid in pids if _runs(pid)]


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # the latter: it ended while its file was read
        return False


def test_its_first_line_says_where_it_serves_and_its_second_the_token_once(tmp_path: Path):
    data = tmp_path / "data"
    with serving(data) as (process, first):
        assert process.stdout is not None
        second = process.stdout.readline()
        token = data / "admin.token"

        assert re.search(r"console http://127\.0\.0\.1:\d+ · gateway https://\S+:\d+ · link mqtts://\S+:\d+", first)
        assert token.read_text().strip() in second
        assert token.stat().st_mode & 0o777 == 0o600
        assert (data / "nats" / "nats.conf").stat().st_mode & 0o777 == 0o600
        assert data.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_order_and_leaves_nothing_running(tmp_path: Path, number: signal.Signals):
    data = tmp_path / "data"
    with serving(data) as (process, _):
        until(lambda: bool(brokers(data)), "a broker")
        start = time.monotonic()
        process.send_signal(number)
        code = process.wait(PATIENCE_S)
        took_s = time.monotonic() - start

    assert code == 0
    assert took_s < STOP_S
    assert brokers(data) == []


def test_killed_it_leaves_no_broker_behind_and_starts_again_on_the_same_ports(tmp_path: Path):
    data = tmp_path / "data"
    with serving(data) as (process, first):
        until(lambda: bool(brokers(data)), "a broker")
        (broker,) = brokers(data)
        ports = re.findall(r":(\d{4,5})", first)
        process.kill()
        process.wait()
        again = ("--api-port", ports[0], "--gateway-port", ports[1], "--link-port", ports[2])
        with serving(data, *again) as (_, line):
            assert line.replace("\n", "") == first.replace("\n", "")
        until(lambda: not _runs(broker), "the old broker ends")


@pytest.mark.parametrize("what", ["api", "gateway", "link"])
def test_a_port_in_use_is_named_with_the_flag_that_changes_it(tmp_path: Path, what: str):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        chosen = {"api": "0", "gateway": "0", "link": "0", what: port}
        flags = [word for name, value in chosen.items() for word in (f"--{name}-port", value)]

        code, said = fails("--data", str(tmp_path / "data"), *flags)

    assert code == 1
    assert f"the port {port} of the {what} is in use" in said
    assert f"--{what}-port" in said


def test_a_second_server_on_the_same_data_is_refused(tmp_path: Path):
    data = tmp_path / "data"
    with serving(data):
        code, said = fails("--data", str(data), *FREE)

    assert code == 1
    assert "another server, or a copy, runs on the data directory" in said


def test_a_data_directory_that_cannot_be_made_is_an_error_that_names_it(tmp_path: Path):
    (tmp_path / "file").write_text("")

    code, said = fails("--data", str(tmp_path / "file" / "data"), *FREE)

    assert code == 1
    assert "cannot be written" in said
    assert "--data" in said


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("--gateway-port", "70000"), "70000 is not a port"),
        (("--api-port", "9000", "--link-port", "9000"), "a port each"),
        (("--sync-every", "0"), "cannot call every 0 s"),
        (("--database", "mysql://x/y"), "mysql"),
    ],
)
def test_settings_that_cannot_be_followed_are_refused_in_a_sentence(tmp_path: Path, flags: tuple[str, ...], told: str):
    code, said = fails("--data", str(tmp_path / "data"), *(FREE if "--database" in flags else ()), *flags)

    assert code == 1
    assert told in said


def test_a_killed_broker_comes_back_within_seconds(tmp_path: Path):
    data = tmp_path / "data"
    with serving(data):
        until(lambda: bool(brokers(data)), "a broker")
        (before,) = brokers(data)
        os.kill(before, signal.SIGKILL)

        until(lambda: any(pid != before for pid in brokers(data)), "another broker")
