from pathlib import Path

import pytest

from agent.adapters.vitals import Flash, Memory, Vitals, space


def put(root: Path, **files: str) -> Vitals:
    for name, text in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return Vitals(root)


def test_the_processor_zone_is_taken_before_others(tmp_path: Path):
    vitals = put(
        tmp_path,
        sys__class__thermal__thermal_zone0__type="nvme",
        sys__class__thermal__thermal_zone0__temp="31000\n",
        sys__class__thermal__thermal_zone1__type="cpu-thermal\n",
        sys__class__thermal__thermal_zone1__temp="48312\n",
    )

    assert vitals.cpu_celsius() == 48.3


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("0", ()),
        ("50005", ("under-voltage", "throttled")),
        ("50000", ("under-voltage since boot", "throttled since boot")),
        ("80008", ("soft temperature limit",)),
        ("nonsense", ()),
    ],
)
def test_the_firmwares_word_is_read_bit_by_bit(tmp_path: Path, word: str, said: tuple[str, ...]):
    root = tmp_path
    path = root / "sys/devices/platform/soc/soc:firmware/get_throttled"
    path.parent.mkdir(parents=True)
    path.write_text(word + "\n")

    assert Vitals(root).throttling() == said


def test_load_and_memory_are_the_kernels(tmp_path: Path):
    vitals = put(
        tmp_path,
        proc__loadavg="0.52 0.58 0.59 1/597 12345\n",
        proc__meminfo="MemTotal:         945512 kB\nMemFree: 1 kB\nMemAvailable:     701234 kB\n",
    )

    assert vitals.load() == 0.52
    assert vitals.memory() == Memory(945512 * 1024, 701234 * 1024)


def test_a_machine_that_tells_nothing_is_no_error(tmp_path: Path):
    vitals = Vitals(tmp_path)

    assert (vitals.cpu_celsius(), vitals.throttling(), vitals.load()) == (None, (), None)
    assert vitals.memory() == Memory(0, 0)
    assert vitals.flash(tmp_path / "not-there") == Flash("", None, "", 0)
    assert space(tmp_path / "not-there") is None


def block(root: Path, disk: str, part: str, **device: str) -> Path:
    node = root / "sys/devices" / disk / part
    node.mkdir(parents=True)
    (node / "partition").write_text("2\n")
    (node.parent / "device").mkdir()
    for name, text in device.items():
        (node.parent / "device" / name).write_text(text + "\n")
    return node


def test_the_wear_of_an_emmc_is_that_of_its_more_worn_part(tmp_path: Path):
    node = block(tmp_path, "mmcblk0", "mmcblk0p2", life_time="0x02 0x09", pre_eol_info="0x02")

    assert Vitals(tmp_path).flash_of(node) == Flash("mmcblk0", 90, "80 % of its spare blocks are used", 0)


def test_an_sd_card_does_not_tell_its_wear_but_its_file_system_tells_errors(tmp_path: Path):
    node = block(tmp_path, "mmcblk0", "mmcblk0p2")
    put(tmp_path, sys__fs__ext4__mmcblk0p2__errors_count="3\n")

    assert Vitals(tmp_path).flash_of(node) == Flash("mmcblk0", None, "", 3)


def test_this_machine_has_memory_load_and_room(tmp_path: Path):
    vitals = Vitals()
    room = space(tmp_path)

    assert vitals.memory().size_bytes > vitals.memory().free_bytes > 0
    assert vitals.load() is not None
    assert room is not None
    assert room.size_bytes > room.free_bytes
