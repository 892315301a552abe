"""Where protocols are found."""

from pathlib import Path

import pytest

from agent.core.config import parse_config
from agent.errors import Misconfigured
from agent.protocols import find

PACKAGE = '''
"""A protocol of somebody else's: each byte is a reading."""
from agent.ports import Emit

def read(table):
    unit = table.text("unit", "1")
    table.done()
    return unit

def open(unit, settings):
    return Bytes(unit)

class Bytes:
    def __init__(self, unit):
        self.unit = unit
    def opened(self, now_s):
        return ()
    def feed(self, data, now_s):
        return [Emit((("byte", self.unit, byte),)) for byte in data]
    def tick(self, now_s):
        return ()
    def due(self):
        return None
'''


def test_a_package_adds_a_protocol_by_an_entry_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "acme_bytes.py").write_text(PACKAGE)
    info = tmp_path / "acme_bytes-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-bytes\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[fieldline.protocols]\nbytes = acme_bytes\n")
    monkeypatch.syspath_prepend(tmp_path)
    text = '[[source]]\nname = "b"\nport = "/dev/x"\nprotocol = "bytes"\nbytes = { unit = "Cel" }'

    (source,) = parse_config(text, find).sources
    dialogue = find("bytes").open(source.options, source.settings)

    assert [action.values for action in dialogue.feed(b"\x07", 0.0)] == [(("byte", "Cel", 7),)]


def test_an_unknown_protocol_is_told_with_its_neighbour():
    with pytest.raises(Misconfigured, match=r"no protocol 'modbuss'; did you mean 'modbus'\?"):
        find("modbuss")


def test_a_protocol_without_its_library_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delitem(__import__("sys").modules, "agent.protocols.modbus", raising=False)
    monkeypatch.setitem(__import__("sys").modules, "pymodbus.framer", None)

    with pytest.raises(Misconfigured, match=r"Install it: pip install 'fieldline\[modbus\]'"):
        find("modbus")
