"""The fleet as anybody sees it: its public HTTP API."""

import json
from collections.abc import Iterator
from typing import Any, Self

import httpx

ANSWER_S = 10.0
STREAM_S = 600.0  # between two parts of a long answer


class Fleet:
    """A client of the public API; without a token it reaches the open parts alone. None: no answer came."""

    def __init__(self, url: str, token: str) -> None:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._client = httpx.Client(base_url=url, headers=headers, timeout=ANSWER_S, trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close its connections."""
        self._client.close()

    def healthy(self) -> bool:
        """Tell whether the server answers."""
        return self.get("/healthz") is not None

    def get(self, path: str, **query: str | int) -> Any | None:  # noqa: ANN401 - JSON
        """Return the JSON at a path; None if the server does not answer, or not with that."""
        try:
            answer = self._client.get(path, params=query)
        except httpx.HTTPError:
            return None
        return answer.json() if answer.is_success else None

    def post(self, path: str, **body: str | int) -> dict[str, Any]:
        """Post a JSON object and return the one that is answered; raises httpx.HTTPError."""
        answer = self._client.post(path, json=body)
        answer.raise_for_status()
        return dict(answer.json())

    def items(self, path: str, **query: str | int) -> list[dict[str, Any]]:
        """Return the first page of a list; empty if there is no answer."""
        answer = self.get(path, **query)
        return list(answer["items"]) if answer else []

    def lines(self, path: str, **query: str | int) -> Iterator[dict[str, Any]]:
        """Stream the objects of an NDJSON answer, however long it takes; raises httpx.HTTPError."""
        timeout = httpx.Timeout(ANSWER_S, read=STREAM_S)
        headers = {"Accept": "application/x-ndjson"}
        with self._client.stream("GET", path, params=query, headers=headers, timeout=timeout) as answer:
            answer.raise_for_status()
            for line in answer.iter_lines():
                yield json.loads(line)

    def readings(self, device: str, series: str) -> Iterator[tuple[int, object]]:
        """Stream all readings of a series, `(t_us, value)` in order of event time."""
        for row in self.lines(f"/api/v1/devices/{device}/readings", series=series):
            yield row["t_us"], row["v"]
