"""Simulated boards on real ptys, run through the command line, against their ledgers."""

import json
import os
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest
import serial
from pymodbus.client import ModbusSerialClient
from sim_reader import numbers, on_wire, opened, read_for, read_until, wait_for

from firmware_sim import ledger
from firmware_sim.board import Board
from firmware_sim.errors import Refused, Unavailable


@pytest.fixture
def link(tmp_path: Path) -> Path:
    return tmp_path / "tty0"


@pytest.fixture
def book(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


def firmware_sim(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "firmware_sim", *words], capture_output=True, text=True, timeout=60, check=False
    )


def test_a_thousand_lines_a_second_arrive_as_the_ledger_says(link: Path, book: Path) -> None:
    board = Board("counter", link, "--await-reader", ledger=book, rate=1000, count=3000)
    with board, opened(link) as fd:
        received = read_until(fd, lambda _: False)
        assert board.wait() == 0
    assert numbers(received) == list(range(1, 3001))
    assert on_wire(book) == list(range(1, 3001))
    temps = [line.split(b",")[1] for line in received.splitlines()]
    assert [row.value for row in ledger.read(book, quantity="temp")] == [float(temp) for temp in temps]
    rows = ledger.read(book)
    assert [row.n for row in rows] == list(range(1, 6001))
    assert rows == sorted(rows, key=lambda row: row.t_us)


def test_pyserial_reads_lines(link: Path) -> None:
    with Board("freezer", link, rate=50), serial.Serial(str(link), 115_200, timeout=20) as port:
        first, second = port.readline(), port.readline()
    assert first.count(b",") == 5
    assert int(second.split(b",")[0]) == int(first.split(b",")[0]) + 1


def test_what_is_emitted_while_the_port_is_closed_is_lost_and_never_comes_later(link: Path, book: Path) -> None:
    with Board("counter", link, ledger=book, rate=500):
        wait_for(lambda: len(ledger.read(book, quantity="n")) > 100)
        with opened(link) as fd:
            received = read_for(fd, 0.5)
    rows = ledger.read(book, quantity="n")
    assert numbers(received)[0] > 100
    assert {row.lost_on_wire for row in rows[:100]} == {1}
    assert numbers(received) == on_wire(book)


def test_what_a_reader_leaves_unread_when_it_closes_is_lost(link: Path, book: Path) -> None:
    with Board("counter", link, ledger=book, rate=1000):
        got: list[int] = []
        for _ in range(4):
            with opened(link) as fd:
                got += numbers(read_for(fd, 0.4))
                time.sleep(0.2)  # 200 lines pile up in the kernel
            time.sleep(0.1)
    assert got == on_wire(book)
    lost = [row.value for row in ledger.read(book, quantity="n") if row.lost_on_wire]
    assert len(lost) > 600
    assert sorted(lost + got) == list(range(1, len(lost) + len(got) + 1))


def test_a_port_reopened_at_once_is_told_from_one_left_open(link: Path, book: Path) -> None:
    with Board("counter", link, ledger=book, rate=1000):
        got: list[int] = []
        for _ in range(20):
            with opened(link) as fd:
                got += numbers(read_for(fd, 0.2))
    assert set(got) <= {row.value for row in ledger.read(book, quantity="n") if row.lost_on_wire != 1}


def test_a_killed_reader_loses_what_it_had_not_read(link: Path, book: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    reader = "import sys; f = open(sys.argv[2], 'wb', 0)\nfor line in open(sys.argv[1], 'rb', 0): f.write(line)"
    with Board("counter", link, ledger=book, rate=500) as board:
        process = subprocess.Popen([sys.executable, "-c", reader, str(link), str(copy)])
        wait_for(lambda: copy.exists() and copy.stat().st_size > 5000)
        process.send_signal(signal.SIGSTOP)
        time.sleep(0.3)
        process.kill()
        process.wait()
        wait_for(lambda: not board.status()["open"])
    got = numbers(copy.read_bytes())
    read = on_wire(book)
    assert got == read[: len(got)]
    assert len(read) - len(got) <= 1  # read, and not yet written to the copy, when it was stopped


def test_a_reader_that_does_not_read_never_blocks_the_board_and_lines_stay_whole(link: Path, book: Path) -> None:
    with Board("counter", link, ledger=book, rate=2000) as board:
        with opened(link) as fd:
            wait_for(lambda: board.status()["emitted"] > 6000)
            received = read_for(fd, 1.0)
        wait_for(lambda: not board.status()["open"])
    assert numbers(received) == on_wire(book)
    rows = [row.value for row in ledger.read(book, quantity="n")]
    assert rows == list(range(1, len(rows) + 1))


def test_a_flush_makes_doubtful_only_what_was_under_way(link: Path, book: Path) -> None:
    with Board("counter", link, ledger=book, rate=1000):
        got: list[int] = []
        with opened(link) as fd:
            for _ in range(5):
                got += numbers(read_for(fd, 0.4))
                termios.tcflush(fd, termios.TCIFLUSH)
            received = read_for(fd, 0.3)
    rows = ledger.read(book, quantity="n")
    seen = set(got) | set(numbers(received))
    assert {row.value for row in rows if row.lost_on_wire == 0 and row.value <= max(seen)} <= seen
    assert not {row.value for row in rows if row.lost_on_wire == 1} & seen


def test_the_same_seed_gives_the_same_values(tmp_path: Path) -> None:
    def values(name: str, seed: int) -> list[object]:
        book = tmp_path / f"{name}.db"
        with Board("pump", tmp_path / name, ledger=book, rate=200, count=100, seed=seed, speedup=60) as board:
            assert board.wait() == 0
        return [(row.quantity, row.value) for row in ledger.read(book)]

    assert values("a", 7) == values("b", 7)
    assert values("c", 7) != values("d", 8)


def test_modbus_serves_what_the_ledger_says(link: Path, book: Path) -> None:
    with Board("meter", link, ledger=book, rate=20, unit=3) as board:
        client = ModbusSerialClient(str(link), baudrate=9600, timeout=5)
        assert client.connect()
        answers = [client.read_holding_registers(0, count=9, device_id=3).registers for _ in range(20)]
        refused = client.read_holding_registers(100, count=2, device_id=3)
        unknown = client.write_register(0, 1, device_id=3)
        inputs = client.read_input_registers(0, count=1, device_id=3)
        client.close()
        assert board.status()["emitted"] == 21
    assert refused.exception_code == 2
    assert unknown.exception_code == 1
    assert not inputs.isError()
    voltages = [row.value for row in ledger.read(book, quantity="voltage")]
    assert voltages == [*(answer[0] / 10 for answer in answers), inputs.registers[0] / 10]
    energies = [row.value for row in ledger.read(book, quantity="energy")]
    assert energies == [(answer[5] * 65_536 + answer[6]) / 1000 for answer in answers]
    assert {row.lost_on_wire for row in ledger.read(book)} == {0}


def test_a_slave_leaves_other_units_and_a_silent_one_everybody_alone(link: Path, book: Path) -> None:
    with Board("meter", link, ledger=book) as board, opened(link) as fd:
        board.fault("silent")
        os.write(fd, bytes.fromhex("010300000001840a"))
        assert read_for(fd, 0.3) == b""
        board.fault("clear")
        os.write(fd, bytes.fromhex("020300000001f839"))
        assert read_for(fd, 0.3) == b""
        os.write(fd, bytes.fromhex("010300000001840a"))
        assert read_until(fd, lambda data: len(data) >= 7)[:3] == b"\x01\x03\x02"
    assert len(ledger.read(book)) == 1


def test_overheat_drives_a_freezer_above_its_limit_and_clear_brings_it_back(link: Path, book: Path) -> None:
    def temp() -> float:
        rows = ledger.read(book, quantity="temp")
        return float(rows[-1].value) if rows else -18.0

    with Board("freezer", link, ledger=book, rate=20) as board:
        board.fault("overheat")
        wait_for(lambda: temp() > -5.0)
        board.fault("clear")
        wait_for(lambda: temp() < -15.0)
    rows = ledger.read(book, quantity="temp")
    warm = next(index for index, row in enumerate(rows) if row.value > -5.0)
    heated = next(index for index, row in enumerate(rows) if row.value > -16.5)
    assert warm - heated < 3 * 20


def test_unplug_hangs_up_and_replug_makes_a_new_tty_under_the_same_link(link: Path, book: Path) -> None:
    with Board("counter", link, ledger=book, rate=200) as board:
        with opened(link) as fd:
            before = read_until(fd, lambda data: len(data) > 2000)
            tty = board.status()["tty"]
            board.fault("unplug")
            before += read_for(fd, 5.0)
            assert not os.path.lexists(link)
            # A pty that somebody still holds keeps its number, so the new one has another.
            board.fault("replug")
            assert board.status()["tty"] != tty
        with opened(link) as fd:
            after = read_until(fd, lambda data: len(data) > 2000)
        wait_for(lambda: not board.status()["open"])
    read = on_wire(book)
    assert read[: len(numbers(before))] == numbers(before)
    assert set(numbers(after)) <= set(read)


def test_a_fault_ends_by_itself_after_its_time(link: Path) -> None:
    with Board("counter", link, rate=50) as board:
        assert board.fault("unplug", for_s=0.2)["tty"] is None
        wait_for(link.exists)
        assert board.status()["faults"] == []


@pytest.mark.parametrize("fault", ["garbage", "half-frames"])
def test_of_a_damaged_stream_what_can_be_read_is_what_the_ledger_holds_unharmed(
    link: Path, book: Path, fault: str
) -> None:
    with Board("freezer", link, "--await-reader", ledger=book, rate=500, count=600) as board:
        board.fault(fault)
        with opened(link) as fd:
            lines = read_until(fd, lambda _: False).split(b"\n")[:-1]
    whole = [int(line.split(b",")[0]) for line in lines if line.isascii() and line.count(b",") == 5]
    assert 100 < len(whole) < 500
    assert whole == on_wire(book)


def test_a_stuck_quantity_keeps_its_value_and_the_others_do_not(link: Path, book: Path) -> None:
    with Board("pump", link, ledger=book, rate=100) as board:
        board.fault("stuck", quantity="flow")
        mark = len(ledger.read(book))
        wait_for(lambda: len(ledger.read(book)) > mark + 300)
    rows = ledger.read(book)[mark + 60 :]
    assert len({row.value for row in rows if row.quantity == "flow"}) == 1
    assert len({row.value for row in rows if row.quantity == "vibration"}) > 1


def test_a_board_stops_cleanly_and_leaves_nothing_behind(link: Path) -> None:
    board = Board("freezer", link)
    board.start()
    assert firmware_sim("list", "--json").stdout.count(str(link)) == 1
    assert board.stop() == (0, "")
    assert not os.path.lexists(link)
    with pytest.raises(Unavailable, match="No board runs"):
        board.fault("overheat")
    assert str(link) not in firmware_sim("list", "--json").stdout


def test_a_board_that_was_killed_can_be_started_again(link: Path, book: Path) -> None:
    first = Board("counter", link, ledger=book)
    first.start()
    wait_for(lambda: ledger.read(book))
    first.process.kill()
    first.stop()
    with Board("counter", link, ledger=book), opened(link) as fd:
        assert read_until(fd, lambda data: b"\n" in data)
    assert [row.n for row in ledger.read(book)] == list(range(1, len(ledger.read(book)) + 1))


def test_errors_are_sentences(link: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with Board("tracker", link) as board:
        with pytest.raises(Refused, match="Nothing on this board can overheat"):
            board.fault("overheat")
        with pytest.raises(Refused, match="has no 'depth'"):
            board.fault("stuck", quantity="depth")
        cases = [
            (1, firmware_sim("board", "freezer", "--link", str(link))),
            (1, firmware_sim("board", "freezer", "--link", str(tmp_path / "file"))),
            (1, firmware_sim("board", "freezer", "--link", str(tmp_path / "no" / "tty"))),
            (1, firmware_sim("board", "counter", "--link", str(tmp_path / "x"), "--protocol", "nmea")),
            (
                1,
                firmware_sim("board", "counter", "--link", str(tmp_path / "x"), "--ledger", str(tmp_path / "no" / "l")),
            ),
            (1, firmware_sim("fault", str(tmp_path / "x"), "overheat")),
            (2, firmware_sim("board", "toaster", "--link", str(tmp_path / "x"))),
        ]
    assert [done.returncode for _, done in cases] == [status for status, _ in cases]
    assert not any("Traceback" in done.stderr for _, done in cases)
    assert (tmp_path / "file").exists()


def test_list_tells_what_runs_and_what_could(link: Path) -> None:
    with Board("tracker", link, rate=5):
        told = json.loads(firmware_sim("list", "--json").stdout)
        assert "tracker nmea 5 Hz" in firmware_sim("list").stdout
    assert [each["board"] for each in told["running"] if each["link"] == str(link)] == ["tracker"]
    assert {each["board"] for each in told["available"]} == {
        "freezer", "printer", "meter", "pump", "tracker", "counter"
    }  # fmt: skip
