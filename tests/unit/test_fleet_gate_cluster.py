"""The cluster key: what is derived from it, what it seals, and what is said of a file that is none."""

import base64
from pathlib import Path

import pytest

from fleet.errors import Misconfigured
from fleet.gateway.broker import Access, Cluster, Listening, configuration
from fleet.gateway.callout import Issuer
from fleet.gateway.cluster import ClusterKey, read_key
from fleet.settings import Settings

KEY = ClusterKey(bytes(range(32)))


def test_nodes_with_the_same_key_have_the_same_secrets_and_others_have_others():
    same, other = ClusterKey(bytes(range(32))), ClusterKey(bytes(32))

    assert (KEY.password, KEY.callout_seed) == (same.password, same.callout_seed)
    assert Issuer(KEY.callout_seed).name == Issuer(same.callout_seed).name
    assert KEY.password != other.password
    assert len({KEY.password.encode(), KEY.callout_seed, KEY.secret}) == 3


def test_what_is_sealed_opens_with_the_same_key_for_the_same_thing_alone():
    sealed = KEY.seal(b"secret", b"about")

    assert KEY.open(sealed, b"about") == b"secret"
    assert b"secret" not in sealed
    assert KEY.seal(b"secret", b"about") != sealed
    for key, about in ((ClusterKey(bytes(32)), b"about"), (KEY, b"another")):
        with pytest.raises(Misconfigured, match="not the one"):
            key.open(sealed, about)


@pytest.mark.parametrize("text", ["", "short", base64.b64encode(bytes(31)).decode(), "not base64 at all!"])
def test_a_file_that_is_no_key_is_refused_with_the_way_to_make_one(tmp_path: Path, text: str):
    path = tmp_path / "cluster.key"
    path.write_text(text)

    with pytest.raises(Misconfigured) as refused:
        read_key(path)

    assert "openssl rand" in refused.value.hint


def test_a_key_does_not_show_what_it_is():
    assert "secret" not in repr(KEY)


def test_a_broker_of_a_cluster_is_reached_over_tls_and_one_alone_over_the_loopback():
    listening = Listening("::", 8883, Path("server.pem"), Path("ca.pem"))
    cluster = Cluster("[::]", 4222, KEY, None)  # type: ignore[arg-type] # no one connects
    access = Access("", KEY.password, Issuer(KEY.callout_seed))

    alone = configuration(Path("nats"), listening, access, None)
    shared = configuration(Path("nats"), listening, access, cluster)

    assert 'listen: "127.0.0.1:-1"' in alone
    assert 'listen: "[::]:4222"' in shared
    assert shared.count("cert_file") == 2
    assert "cluster {" not in shared


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"cluster_host": "10.0.0.1"}, "PostgreSQL"),
        ({"database": "postgresql://db/x"}, "cannot reach this one"),
        ({"database": "postgresql://db/x", "cluster_host": "10.0.0.1", "cluster_port": 8883}, "a port each"),
    ],
)
def test_a_node_needs_a_shared_database_a_name_of_its_own_and_a_port(fields: dict[str, object], problem: str):
    with pytest.raises(Misconfigured, match=problem):
        Settings(cluster_key=Path("cluster.key"), **fields)  # type: ignore[arg-type] # by name


def test_devices_are_told_the_balancers_ports():
    settings = Settings(public_gateway_port=443, public_link_port=8884)

    assert (settings.told_gateway_port, settings.told_link_port) == (443, 8884)
    assert (Settings().told_gateway_port, Settings().told_link_port) == (8443, 8883)
