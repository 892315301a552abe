"""The docs hold together: no link leads nowhere, and every page can be reached from the list of pages."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
LINK = re.compile(r"\]\((?!https?:|mailto:|#)([^)#\s]+)")
LISTED = subprocess.run(["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
PAGES = sorted(ROOT / name for name in LISTED.split())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_link_leads_somewhere(page: Path):
    targets = [page.parent / target for target in LINK.findall(page.read_text())]

    assert [str(target) for target in targets if not target.exists()] == []


def test_every_page_is_in_the_list_of_pages():
    linked = {(DOCS / target).resolve() for target in LINK.findall((DOCS / "README.md").read_text())}
    folders = ("start", "understand", "operate", "extend", "reference")
    pages = {page for page in PAGES if page.parent.parent == DOCS and page.parent.name in folders}

    assert sorted(str(page.relative_to(DOCS)) for page in pages - linked) == []


def test_every_decision_has_a_number_of_its_own():
    numbers = [page.name[:4] for page in PAGES if page.parent == DOCS / "decisions" and page.name != "README.md"]

    assert len(numbers) == len(set(numbers))
    assert all(number.isdecimal() for number in numbers)
