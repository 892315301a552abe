"""The project keeps to its own rules: what the bare install holds, how long a module may be, what no file may say."""

import ast
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
PACKAGES = ("agent", "fleet", "firmware_sim")
MIGRATIONS = ROOT / "fleet" / "store" / "migrations"  # lists of tables, as long as the tables are
MODULES = sorted(
    path for package in PACKAGES for path in (ROOT / package).rglob("*.py") if MIGRATIONS not in path.parents
)
OWNERS_SIX = {"aiomqtt", "click", "cryptography", "httpx", "pyserial", "sqlite-utils"}
MOST_LINES = 500
MOST_FUNCTION_LINES = 60


def test_the_bare_install_is_the_agent_with_the_owners_packages():
    requirements = [Requirement(text) for text in metadata.requires("fieldline") or []]
    bare = {req.name for req in requirements if req.marker is None or req.marker.evaluate({"extra": ""})}

    assert bare == OWNERS_SIX


def test_the_agent_starts_without_anything_of_the_server():
    probe = "import agent.app, agent.cli, sys; print([m for m in sys.modules if m.split('.')[0] in {names}])"
    names = {"fastapi", "sqlalchemy", "uvicorn", "nats", "msgspec", "pydantic", "cryptography", "sqlite_utils", "fleet"}

    done = subprocess.run(
        [sys.executable, "-c", probe.replace("{names}", repr(names))], capture_output=True, text=True, check=True
    )

    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_is_one_idea_a_person_can_hold(path: Path):
    text = path.read_text()
    tree = ast.parse(text)
    long = [
        f"{node.name} {size}"
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (size := (node.end_lineno or 0) - node.lineno + 1) > MOST_FUNCTION_LINES
    ]

    assert len(text.splitlines()) <= MOST_LINES
    assert long == []
    assert ast.get_docstring(tree), "a module's docstring gives its theory"


def test_no_broad_except_goes_on_but_in_a_supervisor_or_at_the_edge():
    going_on = {
        f"{path.relative_to(ROOT)}"
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ExceptHandler) and _is_broad(node) and not isinstance(node.body[-1], ast.Raise)
    }

    assert going_on == {
        "agent/core/contain.py",  # a protocol's mistake, maybe a stranger's, must not end the agent
        "fleet/gateway/session.py",  # what one device says must not end the hearing of all, at once …
        "fleet/gateway/turns.py",  # … or in turns
        "fleet/jobs/runner.py",
    }


def _is_broad(handler: ast.ExceptHandler) -> bool:
    return handler.type is None or (
        isinstance(handler.type, ast.Name) and handler.type.id in {"Exception", "BaseException"}
    )


def test_nothing_is_raised_within_an_except_star():
    """What is raised there comes out in another group before Python 3.11.4, which Debian 12 does not have."""
    raised = {
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in MODULES
        for group in ast.walk(ast.parse(path.read_text()))
        if isinstance(group, ast.TryStar)
        for handler in group.handlers
        for node in ast.walk(handler)
        if isinstance(node, ast.Raise)
    }

    assert raised == set()


def test_no_file_names_a_machine_or_a_registry():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    tell = re.compile(r"(files\.python|registry\.npm|/ho" + r"me/(?!pi/)\w+/|/ro" + r"ot/|/wo" + r"rk/)")
    texts = {name: (ROOT / name).read_text(errors="replace") for name in listed if (ROOT / name).is_file()}

    assert [name for name, text in texts.items() if tell.search(text)] == []
