"""Settings: what cannot be followed is said before anything starts."""

from pathlib import Path

import pytest

from fleet.errors import Misconfigured
from fleet.settings import Settings


def test_the_default_is_everything_on_this_machine():
    settings = Settings(data=Path("/d"))

    assert settings.database_url == "sqlite:////d/fieldline.db"
    assert settings.console_url == "http://127.0.0.1:8080"
    assert settings.server_names[0] == "127.0.0.1"
    assert settings.api_is_local


def test_the_first_name_is_the_one_that_claims_give_out():
    settings = Settings(names=("fleet.example", "10.0.0.5"))

    assert settings.server_names[:2] == ("fleet.example", "10.0.0.5")
    assert "localhost" in settings.server_names


@pytest.mark.parametrize(
    ("fields", "local", "url"),
    [
        ({"api_host": "localhost"}, True, "http://localhost:8080"),
        ({"api_host": "::1"}, True, "http://[::1]:8080"),
        ({"api_host": "0.0.0.0"}, False, "http://127.0.0.1:8080"),  # noqa: S104 - the case
        ({"api_certificate": Path("c"), "api_key": Path("k")}, False, "https://127.0.0.1:8080"),
    ],
)
def test_it_knows_who_reaches_the_api_and_how(fields: dict[str, object], url: str, *, local: bool):
    settings = Settings(**fields)  # type: ignore[arg-type] # by name

    assert settings.api_is_local is local
    assert settings.console_url == url


@pytest.mark.parametrize(
    "fields",
    [
        {"api_port": -1},
        {"gateway_port": 65536},
        {"api_port": 9000, "link_port": 9000},
        {"sync_every_s": 0.0},
        {"sync_every_s": 1e9},
        {"sync_every_s": float("nan")},
        {"names": ("no spaces",)},
        {"names": ("",)},
        {"names": ("a" * 300,)},
        {"api_certificate": Path("c")},
        {"api_key": Path("k")},
    ],
    ids=str,
)
def test_what_cannot_be_followed_is_an_error_with_a_hint(fields: dict[str, object]):
    with pytest.raises(Misconfigured) as refused:
        Settings(**fields)  # type: ignore[arg-type] # by name

    assert refused.value.hint
