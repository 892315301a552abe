"""agent.toml: what is set at the machine, laid over the fleet's config."""

import pytest

from agent.core.local import (
    NO_LOCAL,
    Local,
    Override,
    overlay,
    overridden,
    proxy_refusal,
    read_local,
    without_password,
)
from agent.wire.document import DocumentError, parse_document

FLEETS = """
[agent]
flush_s = 1.0
[[source]]
name = "board"
port = "/dev/ttyUSB0"
[[source]]
name = "meter"
port = "/dev/ttyUSB1"
"""


def test_an_empty_file_sets_nothing():
    assert read_local("") == NO_LOCAL
    assert overridden(FLEETS, NO_LOCAL) == ()


def test_all_that_may_be_set_is_read():
    local = read_local('proxy = "http://p:3128"\n[ports]\nboard = "/dev/ttyS0"\n[agent]\nflush_s = 5.0\n')

    assert local == Local({"board": "/dev/ttyS0"}, {"flush_s": 5.0}, "http://p:3128")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("proxies = 1", "proxies: unknown key; did you mean 'proxy'?"),
        ('proxy = "proxy.site:3128"', "proxy: 'proxy.site:3128' is no HTTP proxy"),
        ('proxy = "socks5://proxy:1080"', "proxy: 'socks5://proxy:1080' is no HTTP proxy"),
        ('proxy = "http://:3128"', "is no HTTP proxy"),
        ('proxy = "http://proxy:99999"', "is no HTTP proxy"),
        ('proxy = "ftp://me:secret@proxy"', "proxy: 'ftp://proxy' is no HTTP proxy"),
        ("[ports]\nboard = 1", "ports.board"),
        ("ports = 1", "ports"),
        ("[agent", "not valid TOML"),
    ],
)
def test_a_slip_is_told_by_its_key_and_without_a_password(text: str, said: str):
    with pytest.raises(DocumentError) as caught:
        read_local(text)

    assert said in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_port_is_replaced_and_all_else_of_the_source_stays():
    values = parse_document(FLEETS).values

    laid, told = overlay(values, Local(ports={"board": "/dev/ttyS0"}))

    assert laid["source"] == [{"name": "board", "port": "/dev/ttyS0"}, {"name": "meter", "port": "/dev/ttyUSB1"}]
    assert laid["agent"] == values["agent"]
    assert told == (Override("port of board", "/dev/ttyS0", "/dev/ttyUSB0"),)
    assert parse_document(FLEETS).values == values  # the document itself is as it was


def test_a_port_of_a_source_that_the_document_does_not_have_is_told_as_not_used():
    assert overridden(FLEETS, Local(ports={"scale": "/dev/ttyS0"})) == (
        Override("port of scale", "/dev/ttyS0", "", is_used=False),
    )


def test_a_key_of_agent_wins_and_those_that_are_not_set_stay():
    laid, told = overlay(parse_document(FLEETS).values, Local(agent={"flush_s": 5.0, "max_bytes": 10}))

    assert laid["agent"] == {"flush_s": 5.0, "max_bytes": 10}
    assert told == (Override("agent.flush_s", "5.0", "1.0"), Override("agent.max_bytes", "10", ""))


def test_agent_is_set_where_the_document_has_none():
    laid, _ = overlay({}, Local(agent={"flush_s": 5.0}))

    assert laid == {"agent": {"flush_s": 5.0}}


def test_a_proxy_is_shown_without_its_password():
    assert overridden("", Local(proxy="http://me:p@ss@proxy:3128")) == (Override("proxy", "http://proxy:3128", ""),)


@pytest.mark.parametrize(
    "values",
    [{"source": "board"}, {"source": [1, "x"]}, {"source": [{"port": 1}]}, {"source": [{"name": 1}]}, {"agent": 3}],
)
def test_a_document_of_the_wrong_shape_is_left_to_its_reader(values: dict[str, object]):
    laid, _ = overlay(values, Local({"board": "/dev/ttyS0"}, {"flush_s": 5.0}))

    assert {key: laid[key] for key in values} == values


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://me:secret@proxy:3128", "http://proxy:3128"),
        ("http://proxy", "http://proxy"),
        ("me:secret@proxy:3128", "proxy:3128"),
        ("", ""),
    ],
)
def test_a_password_is_not_in_what_is_shown(url: str, shown: str):
    assert without_password(url) == shown


def test_what_a_proxy_answers_decides_what_to_do():
    assert "USER:PASSWORD" in proxy_refusal("407 Proxy Authentication Required")
    assert "Ask for CONNECT" in proxy_refusal("403 Forbidden")
