"""The docs hold together: no link leads nowhere, every page can be reached, and what pages repeat of the code is so."""

import re
import subprocess
from pathlib import Path

import click
import pytest

from agent.core.allowance import KEEPALIVE_S
from fleet.cli.serve import serve

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


def test_every_setting_of_the_server_is_in_its_page():
    page = (DOCS / "operate" / "server.md").read_text()
    settings = [one.envvar for one in serve.params if isinstance(one, click.Option)]

    assert all(settings)
    assert [name for name in settings if f"`{name}`" not in page] == []


def test_no_page_installs_from_a_registry_that_has_no_fieldline():
    assert [page.name for page in PAGES if re.search(r"pip install '?fieldline\b", page.read_text())] == []


def test_the_balancer_leaves_an_idle_link_alone_for_longer_than_a_node_does():
    text = (DOCS / "operate" / "cluster" / "haproxy.cfg").read_text()
    link = re.findall(
        r"^    timeout (?:client|server|tunnel) (\d+)s", text.partition("listen gateway")[0], re.MULTILINE
    )

    assert len(link) == 3
    assert all(int(seconds) > 1.5 * KEEPALIVE_S for seconds in link)  # MQTT 3.1.1, 3.1.2.10
