"""What is set on the device itself: `agent.toml` in the state directory, written by the person at the machine.

    proxy = "http://user:password@proxy.site:3128"   # for all that goes to the gateway; the link takes no proxies
    [ports]                               # a source's name = the device file that it has on this machine
    board = "/dev/serial/by-id/usb-…"
    [agent]                               # any key of the config's own [agent]
    flush_s = 5.0

It wins over the fleet's config, whichever that is, and is shown as such. So it holds what differs from machine to
machine, while one document serves a product.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from agent.wire.document import parse_document

PROXY_SCHEMES = ("http", "https")


@dataclass(frozen=True, slots=True)
class Local:
    """The file, read."""

    ports: Mapping[str, str] = field(default_factory=dict)  # by source
    agent: Mapping[str, Any] = field(default_factory=dict)
    proxy: str = ""  # URL; "" for none


NO_LOCAL = Local()


@dataclass(frozen=True, slots=True)
class Override:
    """One key that is set here, and what the fleet's document says instead."""

    key: str
    here: str
    fleet: str  # "" where the document does not say
    is_used: bool = True  # false where the document has no such source


def read_local(text: str) -> Local:
    """Read the file; raises DocumentError. What its keys may be is told when it is laid over a document."""
    document = parse_document(text)
    proxy = document.text("proxy", "")
    if proxy and not _is_proxy(proxy):
        raise document.error(
            "proxy", f"{without_password(proxy)!r} is no HTTP proxy; it is a URL, as in http://proxy.site:3128"
        )
    ports = document.table("ports")
    local = Local({name: ports.text(name) for name in ports.values}, dict(document.table("agent").values), proxy)
    document.done()
    return local


def overlay(values: Mapping[str, Any], local: Local) -> tuple[dict[str, Any], tuple[Override, ...]]:
    """Lay the file over a document's values; returns them and what was overridden.

    What is not of the right shape is left as it is, for the reader of the document to complain about.
    """
    laid, told = dict(values), []
    sources = values.get("source")
    if local.ports and isinstance(sources, list):
        laid["source"] = [_with_port(source, local.ports) for source in sources]
    found = {s["name"]: s for s in sources if _has_name(s)} if isinstance(sources, list) else {}
    for name, port in local.ports.items():
        fleet = str(found[name].get("port", "")) if name in found else ""
        told.append(Override(f"port of {name}", port, fleet, is_used=name in found))
    agent = values.get("agent", {})
    if local.agent and isinstance(agent, dict):
        laid["agent"] = {**agent, **local.agent}
        told += [Override(f"agent.{key}", str(v), str(agent.get(key, ""))) for key, v in local.agent.items()]
    if local.proxy:
        told.append(Override("proxy", without_password(local.proxy), ""))
    return laid, tuple(told)


def without_password(url: str) -> str:
    """Return a proxy's URL as it may be shown."""
    scheme, is_url, rest = url.rpartition("://")
    return f"{scheme}{is_url}{rest.rpartition('@')[2]}"


def proxy_refusal(answer: str) -> str:
    """Return what a proxy said that did not let us through, as `407 …`, with what to do."""
    said = f"The proxy does not let this device through: {answer}."
    if answer.startswith("407"):
        return f'{said} It wants user and password: proxy = "http://USER:PASSWORD@HOST:PORT" in agent.toml.'
    return f"{said} Ask for CONNECT to the gateway's host and port."


def overridden(toml: str, local: Local) -> tuple[Override, ...]:
    """Return what is overridden in a document; raises DocumentError if that is not TOML."""
    return overlay(parse_document(toml).values, local)[1]


def _has_name(source: object) -> bool:
    return isinstance(source, dict) and isinstance(source.get("name"), str)


def _with_port(source: Any, ports: Mapping[str, str]) -> Any:  # noqa: ANN401 - TOML
    if _has_name(source) and source["name"] in ports:
        return {**source, "port": ports[source["name"]]}
    return source


def _is_proxy(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in PROXY_SCHEMES and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is none
        return False
