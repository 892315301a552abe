"""Write the pages that come from the code; `make docs` runs it and a test holds the pages current.

Each page is a pure function to Markdown, listed in `PAGES`: from the code, or, the list of decisions, from their pages.
"""

import enum
import inspect
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import is_dataclass
from pathlib import Path

from agent.rules.phase import ANNOUNCED, NEXT
from agent.wire import codec, limits, messages, topics
from fleet.api import reference as api
from fleet.cli import reference as cli
from fleet.core import alarm, ticket

REFERENCE = Path(__file__).parent / "reference"
DECISIONS = Path(__file__).parent / "decisions"
NOTICE = "<!-- Generated from the code by `make docs`; edit the code. -->\n"
FIELD = re.compile(
    r"^    (?P<name>\w+): (?P<type>[^#=]+?)(?: = (?P<default>[^#]+?))?(?:  # (?P<note>.*))?$", re.MULTILINE
)
LIMIT = re.compile(r"^(?P<name>[A-Z_]+) = (?P<value>[^#]+?)(?:  # (?P<note>.*))?$", re.MULTILINE)
TITLE = re.compile(r"# (?P<number>\d+)\. (?P<title>.+)")
REPLACED = re.compile(r"^\*\*Replaced(?P<by>.*)\*\*(?P<what>.*)$", re.MULTILINE)
MEMBER = re.compile(r"^    [A-Z_]+ = \"(?P<value>[^\"]+)\"(?:  # (?P<note>.*))?$", re.MULTILINE)


def wire() -> str:
    """Page of the contract: messages, enums, topics, limits."""
    sections = [NOTICE, "# The wire contract\n", _prose(messages), *_messages()]
    sections += ["## Bytes\n", _prose(codec)]
    sections += ["## Topics\n", _prose(topics), *_enum(topics.Up), *_enum(topics.Down)]
    sections += ["## Limits\n", _prose(limits), "| limit | value | meaning |\n|---|---|---|"]
    source = inspect.getsource(limits)
    sections += [f"| `{m['name']}` | `{m['value']}` | {m['note'] or ''} |" for m in LIMIT.finditer(source)]
    return "\n".join(sections) + "\n"


def rules() -> str:
    """Page of the rule engine's state machine."""
    rows = [
        f"| {phase} | {verdict} | {after} | {ANNOUNCED.get((phase, after), '')} |"
        for (phase, verdict), after in NEXT.items()
        if phase is not after
    ]
    head = ["# The rule engine's states\n", _prose(sys.modules["agent.rules.phase"])]
    return "\n".join([NOTICE, *head, "| phase | a reading is | next phase | told |\n|---|---|---|---|", *rows]) + "\n"


def states() -> str:
    """Page of the service desk's state machines: alarm and ticket."""
    alarms = [
        f"| {state} | {announced} | {step.state} | {'; '.join(step.effects)} |"
        for (state, announced), step in alarm.NEXT.items()
    ]
    order = tuple(ticket.State)
    tickets = [
        f"| {state} | {event} | {step.state or 'where it was'} | {'; '.join(step.effects)} |"
        for (state, event), step in sorted(ticket.NEXT.items(), key=lambda item: order.index(item[0][0]))
    ]
    moves = [f"| {state} | {', '.join(ticket.moves(state, None)) or 'nowhere: it is over'} |" for state in order]
    return (
        "\n".join(
            [
                NOTICE,
                "# The service desk's states\n",
                "## Alarm\n",
                _prose(alarm),
                "| state | a rule announces | next | what follows |\n|---|---|---|---|",
                *alarms,
                "\n## Ticket\n",
                _prose(ticket),
                "| state | what happens | next | what follows |\n|---|---|---|---|",
                *tickets,
                "\n### Where a person may move a ticket\n",
                "A ticket on hold can also be moved back to where it was.\n",
                "| state | to |\n|---|---|",
                *moves,
                "\n### Reasons\n",
                f"On hold: {', '.join(ticket.Hold)}. Canceled: {', '.join(ticket.Cancel)}.",
            ]
        )
        + "\n"
    )


def decisions() -> str:
    """Page that lists the decisions, and by which of them others were replaced."""
    head = """<!-- Generated from the decisions' pages by `make docs`; edit those. -->
# Decisions

Choices that somebody may question later, each on a page: what was decided, why, and what it costs. A decision that no
longer holds is not edited away; a new page says what replaced it, and the old one, below its title, which that is.

| | decided | replaced |
|---|---|---|
"""
    return head + "".join(_decision(path) for path in sorted(DECISIONS.glob("[0-9]*.md")))


def _decision(path: Path) -> str:
    text = path.read_text()
    head, replaced = TITLE.match(text), REPLACED.search(text)
    if head is None or int(head["number"]) != int(path.name[:4]):
        raise ValueError(f"{path.name} begins with a title such as `# {int(path.name[:4])}. What was decided`")
    by = f"{replaced['by']}{replaced['what']}".strip().removesuffix(".") if replaced else ""
    return f"| {head['number']} | [{head['title']}]({path.name}) | {by} |\n"


def _messages() -> Iterator[str]:
    for name, kind in vars(messages).items():
        if not inspect.isclass(kind) or kind.__module__ != messages.__name__:
            continue
        if issubclass(kind, enum.Enum):
            yield from _enum(kind)
        elif is_dataclass(kind):
            yield f"## {name}\n\n{inspect.cleandoc(kind.__doc__ or '')}\n"
            yield "| field | type | default | meaning |\n|---|---|---|---|"
            for m in FIELD.finditer(inspect.getsource(kind)):
                kind_text = m["type"].replace("|", "\\|")
                default = f"`{m['default']}`" if m["default"] else ""
                yield f"| `{m['name']}` | `{kind_text}` | {default} | {m['note'] or ''} |"
            yield ""


def _enum(kind: type[enum.Enum]) -> Iterator[str]:
    yield f"## {kind.__name__}\n\n{inspect.cleandoc(kind.__doc__ or '')}\n"
    yield "| value | meaning |\n|---|---|"
    for m in MEMBER.finditer(inspect.getsource(kind)):
        yield f"| `{m['value']}` | {m['note'] or ''} |"
    yield ""


def _prose(module: object) -> str:
    return inspect.cleandoc(inspect.getdoc(module) or "") + "\n"


PAGES: dict[Path, Callable[[], str]] = {
    REFERENCE / "wire.md": wire,
    REFERENCE / "rules.md": rules,
    REFERENCE / "states.md": states,
    REFERENCE / "cli.md": cli.page,
    REFERENCE / "routes.md": api.page,
    DECISIONS / "README.md": decisions,
}


def main() -> None:
    """Write every page."""
    for path, page in PAGES.items():
        path.write_text(page())
        sys.stdout.write(f"{path.name}\n")


if __name__ == "__main__":
    main()
