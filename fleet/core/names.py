"""Names of series that are wanted: some by name, some by a part of it.

`board.temp` is that series, `board.*` all that begin so; `*` stands for any characters. Nothing said is all of them.
"""

import re
from collections.abc import Iterable

from fleet.core.chunk import sensor_of

MAX_NAMES = 100


class Names:
    """A set of names that is never listed: it only tells whether a name is in it."""

    def __init__(self, wanted: Iterable[str] = ()) -> None:
        wanted = tuple(wanted)
        self._exact = frozenset(one for one in wanted if "*" not in one)
        like = ["".join(".*" if part == "*" else re.escape(part) for part in _parts(one)) for one in wanted]
        like = [one for one, said in zip(like, wanted, strict=True) if "*" in said]
        self._like = re.compile("|".join(like)) if like else None
        self._all = not wanted
        self._sensors = frozenset(map(sensor_of, self._exact))

    def __contains__(self, name: object) -> bool:
        if self._all or name in self._exact:
            return True
        return self._like is not None and self._like.fullmatch(str(name)) is not None

    def touches(self, sensor: str) -> bool:
        """Tell whether a series of the sensor may be among them."""
        return self._all or self._like is not None or sensor in self._sensors


def _parts(pattern: str) -> list[str]:
    return re.split(r"(\*)", pattern)
