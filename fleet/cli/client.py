"""The public HTTP API as the commands use it: one place that knows httpx, and turns its failures into sentences.

Objects stay as the API sent them: `--json` prints what the API says, no more and no less.
"""

import functools
import json
import ssl
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any, Concatenate, ParamSpec, TypeVar
from urllib.parse import quote, urlsplit

import click

from fleet.cli import access
from fleet.cli.http import httpx
from fleet.errors import Busy, FleetError, Invalid, Misconfigured, NotFound, Refused, Unauthenticated

API = "/api/v1"
TIMEOUT_S = 30.0  # to connect, and between two pieces of an answer
SEND_S = 120.0  # for the answer to bytes that were sent
PAGE = 1000  # items a page when all are wanted
MAX_PROBLEM_BYTES = 65_536  # of an error's body

SIGN_IN = "Sign in with `fleet login`, or set FLEET_TOKEN (the server's own is in DATA/admin.token)."
KINDS: dict[int, type[FleetError]] = {
    HTTPStatus.FORBIDDEN: Refused,
    HTTPStatus.CONFLICT: Refused,
    HTTPStatus.NOT_FOUND: NotFound,
}

Item = dict[str, Any]
P = ParamSpec("P")
R = TypeVar("R")


class Unreachable(FleetError):
    """No answer, or half of one: try again when the server is back."""


class Client:
    """One server's API, for the length of one command."""

    def __init__(self, server: access.Access, http: httpx.Client) -> None:
        self.server = server
        self._http = http

    def get(self, *parts: str, **query: Any) -> Any:  # noqa: ANN401 - JSON
        """Get one document. `parts` are the path's segments, each quoted; None in the query is left out."""
        return self._ask("GET", parts, query=query)

    def content(self, *parts: str) -> bytes:
        """Return the bytes at an address."""
        with self._translated():
            answer = self._http.get(_path(parts))
            if answer.is_error:
                raise problem(answer)
            return answer.content

    def post(self, *parts: str, body: Mapping[str, Any], whole: bool = False) -> Any:  # noqa: ANN401 - JSON
        """Post one document; None in the body is left out, unless it shall go `whole`."""
        return self._ask("POST", parts, body={key: said for key, said in body.items() if whole or said is not None})

    def put(self, *parts: str, body: Mapping[str, Any]) -> Any:  # noqa: ANN401 - JSON
        """Put one document; None in the body is left out."""
        return self._ask("PUT", parts, body={key: value for key, value in body.items() if value is not None})

    def send(self, *parts: str, content: bytes, kind: str) -> Any:  # noqa: ANN401 - JSON
        """Post bytes of a media type."""
        with self._translated():
            answer = self._http.post(_path(parts), content=content, headers={"Content-Type": kind}, timeout=SEND_S)
            if answer.is_error:
                raise problem(answer)
            return answer.json()

    def delete(self, *parts: str) -> Any:  # noqa: ANN401 - JSON
        """Delete one thing."""
        return self._ask("DELETE", parts)

    def items(self, *parts: str, limit: int | None = None, **query: Any) -> Iterator[Item]:  # noqa: ANN401
        """Yield the items of a list, page after page; all of them where no limit is given."""
        cursor: str | None = None
        left = limit
        while left is None or left > 0:
            page = self.get(*parts, limit=PAGE if left is None else min(left, PAGE), cursor=cursor, **query)
            items = page["items"][:left]
            yield from items
            left = None if left is None else left - len(items)
            cursor = page.get("next")
            if cursor is None:
                return

    def lines(
        self,
        *parts: str,
        accept: str,
        silence_s: float = TIMEOUT_S,
        headers: Mapping[str, str] | None = None,
        **query: Any,  # noqa: ANN401 - whatever the route takes
    ) -> Iterator[str]:
        """Yield the lines of an answer as they arrive. Raises Unreachable if it breaks off."""
        with self._translated():
            wanted = {"Accept": accept, **(headers or {})}
            timeout = httpx.Timeout(TIMEOUT_S, read=silence_s)
            path = _path(parts)
            with self._http.stream("GET", path, params=_query(query), headers=wanted, timeout=timeout) as answer:
                if answer.is_error:
                    answer.read()
                    raise problem(answer)
                yield from split_lines(answer.iter_text())

    def _ask(
        self,
        method: str,
        parts: tuple[str, ...],
        query: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401 - JSON
        with self._translated():
            answer = self._http.request(method, _path(parts), params=_query(query or {}), json=body)
            if answer.is_error:
                raise problem(answer)
            if not answer.content:
                return {}
            try:
                return answer.json()
            except ValueError as error:
                hint = "Check FLEET_URL: it is the address of `fleet serve`, without a path."
                raise Unreachable(f"{self.server.url} answered, but not as a fleet server does", hint=hint) from error

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Turn what httpx raises into what a person can act on."""
        url = self.server.url
        try:
            yield
        except httpx.ConnectError as error:
            raise _unconnected(url, error) from error
        except httpx.TimeoutException as error:
            hint = "It is there but busy, or the network between is bad. Try again."
            raise Unreachable(f"{url} did not answer in time", hint=hint) from error
        except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError) as error:
            if "without sending a response" in str(error):
                hint = "Is it the console's port, not one for devices? If so, try again."
                raise Unreachable(f"{url} closed the connection without an answer", hint=hint) from error
            raise Unreachable(f"{url} broke off its answer", hint="What was printed is not all. Try again.") from error
        except httpx.HTTPError as error:
            raise Unreachable(f"{url} cannot be asked: {error}", hint="Check FLEET_URL and the network.") from error


def split_lines(pieces: Iterable[str]) -> Iterator[str]:
    """Cut text at its line feeds alone: JSON may hold what Unicode also calls the end of a line."""
    rest = ""
    for piece in pieces:
        *whole, rest = (rest + piece).split("\n")
        for line in whole:
            yield line.removesuffix("\r")
    if rest:
        yield rest


def _unconnected(url: str, error: httpx.ConnectError) -> FleetError:
    if isinstance(error.__context__, ssl.SSLError) or "SSL" in str(error) or "certificate" in str(error).lower():
        reason = str(error).partition("] ")[2].partition(" (_ssl")[0] or str(error)
        if "WRONG_VERSION_NUMBER" in str(error).upper().replace(" ", "_"):
            return Misconfigured(f"{url} does not speak https", hint="Say http:// in FLEET_URL, or at `fleet login`.")
        hint = "If the server has a certificate of your own CA, name it: FLEET_CA=ca.pem or `fleet login --ca ca.pem`."
        return Misconfigured(f"{url} could not be trusted: {reason}", hint=hint)
    hint = "Is `fleet serve` running there? Check FLEET_URL, or `fleet context list`."
    return Unreachable(f"{url} does not answer: {_plain(error)}", hint=hint)


def _plain(error: httpx.ConnectError) -> str:
    return str(error).partition("] ")[2].lower() or str(error) or "no connection"


def problem(answer: httpx.Response) -> FleetError:
    """Turn an error's answer (problem+json, RFC 9457) into the error of the same meaning."""
    try:
        document = json.loads(answer.content[:MAX_PROBLEM_BYTES])
    except ValueError:
        document = {}
    if not isinstance(document, dict):
        document = {}
    said = document.get("detail") or document.get("title") or f"the server answered {answer.status_code}"
    message, hint, status = _sentence(said), str(document.get("hint") or ""), answer.status_code
    if status == HTTPStatus.UNAUTHORIZED:
        return Unauthenticated(message, hint=f"{hint} {SIGN_IN}".strip())
    if status == HTTPStatus.NOT_FOUND and not document:
        return NotFound("the server does not know this address", hint="Check FLEET_URL and the server's version.")
    if status in (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS):
        after = answer.headers.get("Retry-After", "")
        seconds = int(after) if after.isdecimal() else 1
        return Busy(message, retry_after_s=seconds, hint=hint or f"Try again in {seconds} s.")
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return Unreachable(message, hint=hint or "Look into the server's log.")
    return KINDS.get(status, Invalid)(message, hint=hint)


def _sentence(said: object) -> str:
    """Return the detail as one sentence; FastAPI's own errors are a list of places and messages."""
    if isinstance(said, list):
        parts = [f"{'.'.join(map(str, one.get('loc', ())))}: {one.get('msg')}" for one in said if isinstance(one, dict)]
        return "; ".join(parts)
    return str(said)


def _path(parts: tuple[str, ...]) -> str:
    return API + "".join(f"/{quote(part, safe='')}" for part in parts)


def _query(query: Mapping[str, Any]) -> dict[str, str]:
    """Leave out what is None; `from_` becomes `from`; truth is said in small letters."""
    return {
        key.removesuffix("_"): str(value).lower() if isinstance(value, bool) else str(value)
        for key, value in query.items()
        if value is not None
    }


def connect(server: access.Access, timeout_s: float = TIMEOUT_S) -> Client:
    """Open a client; `closing_client` closes it too. Raises Misconfigured where the CA file cannot be used."""
    verify: bool | ssl.SSLContext = True
    secure = server.url.startswith("https:")
    if secure and server.ca:
        try:
            verify = ssl.create_default_context(cafile=server.ca)
        except (OSError, ssl.SSLError) as error:
            raise Misconfigured(f"the CA file {server.ca} cannot be used: {error}", hint="Give a PEM file.") from error
    http = httpx.Client(
        base_url=server.url,
        headers={
            "Accept": "application/json",
            "X-Fieldline-Origin": "cli",
            **({"Authorization": f"Bearer {server.token}"} if server.token else {}),
        },
        timeout=timeout_s,
        verify=verify if secure else False,  # making a TLS context costs 20 ms; plain http has no use for it
        trust_env=not access.is_loopback(urlsplit(server.url).hostname or ""),  # a proxy is no way to oneself
    )
    return Client(server, http)


def pass_client(command: Callable[Concatenate[Client, P], R]) -> Callable[P, R]:
    """Hand a command a client of the server that the context, or the environment, names."""

    @functools.wraps(command)
    def with_client(*args: P.args, **kwargs: P.kwargs) -> R:
        name = click.get_current_context().find_root().params.get("context")
        server = access.resolve(name)
        if not server.token:
            raise Unauthenticated(f"no token for {server.url}", hint=SIGN_IN)
        with closing_client(server) as client:
            return command(client, *args, **kwargs)

    return with_client


@contextmanager
def closing_client(server: access.Access, timeout_s: float = TIMEOUT_S) -> Iterator[Client]:
    """Open a client for the length of a block."""
    client = connect(server, timeout_s)
    try:
        yield client
    finally:
        client._http.close()  # noqa: SLF001 - its own module
