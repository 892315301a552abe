from pathlib import Path

import pytest

from agent.core.unit import Program, hidden_trees, render_unit

TEMPLATE = (Path(__file__).parents[2] / "systemd" / "fleet-agent.service").read_text()
STATE = "/var/lib/fieldline"


def lines(program: Program, config: str | None = None) -> list[str]:
    return render_unit(TEMPLATE, program, STATE, config).splitlines()


def test_a_program_in_opt_gives_the_unit_that_ships():
    program = Program(("/opt/fieldline/bin/fleet-agent",), ("/opt/fieldline", "/usr"))

    assert lines(program) == TEMPLATE.splitlines()


def test_a_first_config_is_given_to_the_program():
    program = Program(("/usr/bin/fleet-agent",), ("/usr",))

    assert f"ExecStart=/usr/bin/fleet-agent run --state {STATE} --config /etc/fieldline/first.toml" in lines(
        program, "/etc/fieldline/first.toml"
    )


def test_a_program_in_a_home_is_bound_in_and_the_rest_of_the_home_stays_hidden():
    venv = "/home/pi/.local/share/pipx/venvs/fieldline"
    unit = lines(Program((f"{venv}/bin/fleet-agent",), (venv, "/usr", f"{venv}/lib/python3.11/site-packages")))

    assert "ProtectHome=tmpfs" in unit
    assert "ProtectHome=yes" not in unit
    assert [line for line in unit if line.startswith("Bind")] == [f"BindReadOnlyPaths={venv}"]


def test_a_program_in_tmp_is_bound_in_and_homes_stay_closed():
    unit = lines(Program(("/tmp/venv/bin/fleet-agent",), ("/tmp/venv",)))  # noqa: S108 - only a name

    assert "ProtectHome=yes" in unit
    assert "BindReadOnlyPaths=/tmp/venv" in unit


def test_the_python_of_uv_in_the_same_home_is_bound_in_too():
    trees = ("/home/pi/.local/share/uv/tools/fieldline", "/home/pi/.local/share/uv/python/cpython-3.11")

    assert hidden_trees(trees) == tuple(sorted(trees))


@pytest.mark.parametrize(
    ("path", "written"),
    [
        ("/opt/field line/fleet-agent", '"/opt/field line/fleet-agent"'),
        ("/opt/50%/fleet-agent", "/opt/50%%/fleet-agent"),
        ("/opt/$x/fleet-agent", "/opt/$$x/fleet-agent"),
        ('/opt/a"b/fleet-agent', r'"/opt/a\"b/fleet-agent"'),
    ],
)
def test_a_path_is_quoted_as_systemd_reads_it(path: str, written: str):
    assert f"ExecStart={written} run --state {STATE}" in lines(Program((path,), ()))
