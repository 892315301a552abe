"""Where protocols are found."""

from pathlib import Path

import pytest

from agent.core.config import parse_config
from agent.errors import Misconfigured
from agent.protocols import find

PAGE = (Path(__file__).parents[2] / "docs" / "extend" / "protocol.md").read_text()
PACKAGE = PAGE.split("```python\n")[1].split("```")[0]


def test_the_package_of_the_docs_adds_a_protocol_by_an_entry_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "fieldline_acme.py").write_text(PACKAGE)
    info = tmp_path / "fieldline_acme-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: fieldline-acme\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[fieldline.protocols]\nacme = fieldline_acme\n")
    monkeypatch.syspath_prepend(tmp_path)
    text = '[[source]]\nname = "b"\nport = "/dev/x"\nprotocol = "acme"\nacme = { unit = "kg" }'

    (source,) = parse_config(text, find).sources
    dialogue = find("acme").open(source.options, source.settings)

    assert [action.values for action in dialogue.feed(b"\x07", 0.0)] == [(("mass", "kg", 7),)]


def test_an_unknown_protocol_is_told_with_its_neighbour():
    with pytest.raises(Misconfigured, match=r"no protocol 'modbuss'; did you mean 'modbus'\?"):
        find("modbuss")


def test_a_protocol_without_its_library_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delitem(__import__("sys").modules, "agent.protocols.modbus", raising=False)
    monkeypatch.setitem(__import__("sys").modules, "pymodbus.framer", None)

    with pytest.raises(Misconfigured, match=r"Install it: pip install 'fieldline\[modbus\]'"):
        find("modbus")
