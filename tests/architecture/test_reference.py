"""The reference pages that come from the code are current."""

import importlib.util
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"


def _pages() -> dict[Path, str]:
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return {path: page() for path, page in module.PAGES.items()}


@pytest.mark.parametrize("path", _pages(), ids=lambda path: path.name)
def test_a_generated_page_is_current(path: Path):
    assert path.read_text() == _pages()[path], "run `make docs`"
