"""A condition over several series: `all`, `any` and `not` over conditions on one series each.

Each part keeps its own verdict until its series says something else. They are joined by three-valued logic (Kleene's):
one good part makes `all` good and one bad part makes `any` bad whatever the others are; otherwise one that is unknown
makes the whole unknown; `not` of the unknown is unknown.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from agent.rules.condition.one import Condition

MAX_WORDS_CHARS = 512  # of a condition in words

Verdicts = Sequence[bool | None]
"""Of the parts, by index."""


@dataclass(frozen=True, slots=True)
class Part:
    """A condition on one series; `series` is "" for the rule's own."""

    index: int
    series: str
    condition: Condition

    def judge(self, verdicts: Verdicts) -> bool | None:
        """Return the part's own verdict."""
        return verdicts[self.index]

    def parts(self) -> Iterator["Part"]:
        """Yield the part itself."""
        yield self

    def __str__(self) -> str:
        return f"{self.series} {self.condition}".lstrip()


@dataclass(frozen=True, slots=True)
class AllOf:
    """Bad when each of these is."""

    nodes: tuple["Node", ...]

    def judge(self, verdicts: Verdicts) -> bool | None:
        """Join the verdicts."""
        unknown = False
        for node in self.nodes:
            bad = node.judge(verdicts)
            if bad is False:
                return False
            unknown = unknown or bad is None
        return None if unknown else True

    def parts(self) -> Iterator[Part]:
        """Yield the conditions on one series below this one, in order."""
        for node in self.nodes:
            yield from node.parts()

    def __str__(self) -> str:
        return " and ".join(_bracketed(node) for node in self.nodes)


@dataclass(frozen=True, slots=True)
class AnyOf:
    """Bad when one of these is."""

    nodes: tuple["Node", ...]

    def judge(self, verdicts: Verdicts) -> bool | None:
        """Join the verdicts."""
        unknown = False
        for node in self.nodes:
            bad = node.judge(verdicts)
            if bad:
                return True
            unknown = unknown or bad is None
        return None if unknown else False

    def parts(self) -> Iterator[Part]:
        """Yield the conditions on one series below this one, in order."""
        for node in self.nodes:
            yield from node.parts()

    def __str__(self) -> str:
        return " or ".join(_bracketed(node) for node in self.nodes)


@dataclass(frozen=True, slots=True)
class NotOf:
    """Bad when this is good."""

    node: "Node"

    def judge(self, verdicts: Verdicts) -> bool | None:
        """Turn the verdict round."""
        bad = self.node.judge(verdicts)
        return None if bad is None else not bad

    def parts(self) -> Iterator[Part]:
        """Yield the conditions on one series below this one, in order."""
        yield from self.node.parts()

    def __str__(self) -> str:
        return f"not {_bracketed(self.node)}"


Node = Part | AllOf | AnyOf | NotOf


@dataclass(frozen=True, slots=True)
class Several:
    """The whole of a condition over several series."""

    node: AllOf | AnyOf | NotOf
    parts: tuple[Part, ...]

    def __str__(self) -> str:
        words = str(self.node)
        return words if len(words) <= MAX_WORDS_CHARS else words[: MAX_WORDS_CHARS - 1] + "…"


def _bracketed(node: Node) -> str:
    return f"({node})" if isinstance(node, AllOf | AnyOf) else str(node)
