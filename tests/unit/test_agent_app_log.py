import io
import json
import logging
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest

from agent.adapters.log import MAX_ERROR_CHARS, TAIL_CHARS, TAIL_LINES, KeyValue, Tail, masked

LINE = re.compile(r'^(t=\S+ )?level=\w+ from=\S+ msg="[^\n]*"( held_back=\d+)?( error="[^\n]*")?$')


@pytest.fixture
def logger() -> Iterator[tuple[logging.Logger, Tail, io.StringIO]]:
    stream = io.StringIO()
    tail = Tail(stream)
    tail.setFormatter(KeyValue(with_time=False))
    it = logging.getLogger("agent.test")
    it.addHandler(tail)
    it.propagate = False
    yield it, tail, stream
    it.removeHandler(tail)
    it.propagate = True


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("bad claim fl1/h:8443/abc/S3cr-et_", "bad claim fl1/h:8443/abc/***"),
        ("via http://me:hunter2@proxy:3128", "via http://***@proxy:3128"),
        ("Authorization: Bearer fl_abcdefghijkl", "Authorization: Bearer ***"),
        ("Basic Y2xhaW06c2VjcmV0", "Basic ***"),
        (
            r"-----BEGIN PRIVATE KEY-----\nMIGHAgEA\n-----END PRIVATE KEY-----",
            "-----BEGIN PRIVATE KEY-----***-----END PRIVATE KEY-----",
        ),
        ("cut off -----BEGIN EC PRIVATE KEY-----MHcCAQ", "cut off -----BEGIN EC PRIVATE KEY-----***"),
        ("port /dev/ttyUSB0 at 12:30 is lost", "port /dev/ttyUSB0 at 12:30 is lost"),
        ("https://fleet.example.com:8443/v1/sync answers 503", "https://fleet.example.com:8443/v1/sync answers 503"),
    ],
)
def test_what_looks_like_a_secret_is_masked_and_nothing_else(text: str, shown: str):
    assert masked(text) == shown


def test_a_traceback_is_one_line_with_its_end_and_without_secrets(logger: tuple[logging.Logger, Tail, io.StringIO]):
    it, _, stream = logger
    error = ValueError("x" * MAX_ERROR_CHARS + " http://a:b@c the end")
    it.error("it broke", exc_info=error)

    (line,) = stream.getvalue().splitlines()
    assert LINE.match(line)
    assert "the end" in line
    assert "a:b@" not in line
    assert len(line) < MAX_ERROR_CHARS + 200


def test_the_tail_keeps_the_last_lines_dated(logger: tuple[logging.Logger, Tail, io.StringIO]):
    it, tail, _ = logger
    for i in range(TAIL_LINES + 10):
        it.warning("line %d", i)

    assert len(tail.lines()) == TAIL_LINES
    assert tail.lines()[-1].endswith(f'msg="line {TAIL_LINES + 9}"')
    assert tail.lines()[0].startswith("t=")


def test_the_tail_is_bounded_however_long_lines_are(logger: tuple[logging.Logger, Tail, io.StringIO]):
    it, tail, _ = logger
    for i in range(50):
        it.warning("%d %s", i, "x" * 10_000)
    it.warning("%s", "y" * 3 * TAIL_CHARS)

    assert sum(map(len, tail.lines())) <= TAIL_CHARS


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_a_bug_in_a_command_is_one_line_and_exit_code_70():
    done = run(
        "import agent.cli, agent.cli.status as it\n"
        "def bug(*_, **__): raise KeyError('fl1/h:1/abc/secret')\n"
        "it.read_offline = it.ask = bug\n"
        "agent.cli.main(['status'])"
    )

    (line,) = done.stderr.splitlines()
    assert done.returncode == 70
    assert LINE.match(line)
    assert line.split(" ")[1] == "level=critical"
    assert "Traceback (most recent call last)" in json.loads(line.partition("error=")[2])
    assert "secret" not in line


def test_a_thread_that_dies_leaves_one_line():
    done = run(
        "import threading, agent.adapters.log as log\n"
        "log.set_up('info', lambda: 0.0)\n"
        "def bug(): raise RuntimeError('boom')\n"
        "it = threading.Thread(target=bug, name='port'); it.start(); it.join()"
    )

    (line,) = done.stderr.splitlines()
    assert LINE.match(line)
    assert "the thread port died of a bug: RuntimeError: boom" in line
