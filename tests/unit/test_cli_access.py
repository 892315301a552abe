"""Where the server is and what opens it."""

import stat
from pathlib import Path

import pytest

from fleet.cli import access
from fleet.cli.access import Access, clean_url, resolve
from fleet.errors import Misconfigured, NotFound

WORK = Access("https://fleet.example.com", "flt_work", "", "work")
HOME = Access("http://127.0.0.1:8080", "flt_home", "", "home")


@pytest.fixture(autouse=True)
def stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    access.save(access.Contexts().adding(WORK).adding(HOME))
    return access.path()


@pytest.mark.parametrize(
    ("said", "url"),
    [
        ("localhost:8080", "http://localhost:8080"),
        ("127.0.0.1:8080/", "http://127.0.0.1:8080"),
        ("fleet.example.com", "https://fleet.example.com"),
        ("https://fleet.example.com/api/v1/", "https://fleet.example.com"),
        ("http://[::1]:8080", "http://[::1]:8080"),
    ],
)
def test_an_address_is_brought_to_one_form(said: str, url: str):
    assert clean_url(said) == url


@pytest.mark.parametrize("said", ["ftp://x", "", "http://", "http://x:99999", "http://u:p@x", "http://x?y=1"])
def test_what_is_no_address_is_refused(said: str):
    with pytest.raises(Misconfigured, match="not the address of a server"):
        clean_url(said)


def test_the_file_of_contexts_is_its_owners_alone(stored: Path):
    assert stat.S_IMODE(stored.stat().st_mode) == 0o600
    assert "flt_work" not in repr(WORK)


def test_the_context_that_was_added_last_is_the_current_one():
    assert resolve(None, {}) == HOME


def test_a_named_context_is_used_and_an_unknown_one_is_not_found():
    assert resolve("work", {"FLEET_URL": "http://127.0.0.1:1", "FLEET_TOKEN": "flt_x"}) == WORK
    with pytest.raises(NotFound, match="no context 'wrok'"):
        resolve("wrok", {})


def test_the_environment_wins_over_the_current_context():
    environ = {"FLEET_URL": "http://127.0.0.1:1", "FLEET_TOKEN": " flt_x\n"}

    assert resolve(None, environ) == Access("http://127.0.0.1:1", "flt_x")


def test_a_stored_token_is_never_sent_to_another_server():
    assert resolve(None, {"FLEET_URL": "https://evil.example.com"}).token == ""
    assert resolve(None, {"FLEET_URL": "https://fleet.example.com"}) == WORK


def test_a_context_that_was_removed_is_forgotten(stored: Path):
    access.save(access.load().without("home"))

    assert "flt_home" not in stored.read_text()
    assert resolve(None, {}).token == ""


def test_a_broken_file_says_what_to_do(stored: Path):
    stored.write_text("{")

    with pytest.raises(Misconfigured) as caught:
        access.load()
    assert "fleet login" in caught.value.hint
