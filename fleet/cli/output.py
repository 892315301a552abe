"""How results look: JSON for programs, tables for people.

Text from the API is data: it is never read as markup, and control characters are replaced, so that a device cannot
steer the terminal. Colour says nothing that a word does not say; there is none where stdout is no terminal or NO_COLOR
is set.
"""

import json
import sys
from collections.abc import Iterable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import click

from fleet.cli import times
from fleet.cli.client import Item
from fleet.cli.shell import printable

if TYPE_CHECKING:  # rich costs 60 ms to import, and programs that read JSON have no use for it
    from rich.console import Console, RenderableType
    from rich.text import Text

STYLES = {
    "online": "green",
    "late": "yellow",
    "offline": "red",
    "never": "dim",
    "critical": "bold red",
    "major": "red",
    "minor": "yellow",
    "warning": "cyan",
    "active": "red",
    "pending": "yellow",
    "clearing": "yellow",
    "cleared": "green",
    "new": "bold",
    "verifying": "yellow",
    "resolved": "green",
    "closed": "dim",
    "canceled": "dim",
    "in_sync": "green",
    "trying": "yellow",
    "refused": "bold red",
    "rolled_back": "bold red",
    "unset": "dim",
    "open": "green",
    "used": "dim",
    "expired": "dim",
    "revoked": "bold red",
}
"""Colour of a word: presence, severity, and the states of alarms, tickets and configs."""

UNWRAPPED = 100_000  # columns where stdout is no terminal: a line of a table stays one line for grep
MOST_WRAPPED = 1.3  # a table may be so many times wider than the terminal before its rows become cards
BARS = "▁▂▃▄▅▆▇█"


def person(actor: object) -> str:
    """Return the name of who did something, without the kind of actor before it."""
    return str(actor or "").removeprefix("user:")


def print_json(value: object) -> None:
    """Print one JSON value on one line."""
    click.echo(json.dumps(value, ensure_ascii=False))


def print_array(items: Iterable[Item]) -> None:
    """Print items as one JSON array, an item a line; a long list is not held in memory."""
    separator = "["
    for item in items:
        click.echo(separator + json.dumps(item, ensure_ascii=False), nl=False)
        separator = ",\n "
    click.echo("[]" if separator == "[" else "]")


def show(thing: "RenderableType") -> None:
    """Print a thing of rich's; off a terminal without the spaces that fill its last column."""
    if console().is_terminal:
        console().print(thing)
        return
    with console().capture() as captured:
        console().print(thing)
    click.echo("\n".join(line.rstrip() for line in captured.get().splitlines()))


@cache
def console() -> "Console":
    """Return the console for people's output."""
    from rich.console import Console  # noqa: PLC0415 - see above

    width = None if sys.stdout.isatty() else UNWRAPPED
    return Console(width=width, highlight=False, markup=False, emoji=False, soft_wrap=False)


def text(value: object, style: str = "") -> "Text":
    """Return data as text that can be printed safely."""
    from rich.text import Text  # noqa: PLC0415 - see above

    return Text(printable("" if value is None else str(value)), style=style)


def word(value: object) -> "Text":
    """Return a word of a closed set in its colour."""
    return text(str(value or "").replace("_", " "), STYLES.get(str(value), ""))


def say(*parts: object) -> None:
    """Print one line for a person."""
    from rich.text import Text  # noqa: PLC0415 - see above

    line = Text()
    for part in parts:
        line.append(part if isinstance(part, Text) else text(part))
    console().print(line)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str) -> None:
    """Print a table; `empty` says in a sentence that there is nothing, and what to do.

    Where the terminal is too narrow for the columns, each row is printed as a card: its parts below each other.
    """
    from rich.table import Table  # noqa: PLC0415 - see above
    from rich.text import Text  # noqa: PLC0415 - see above

    grid = Table(box=None, pad_edge=False, header_style="bold", show_edge=False)
    for column in columns:
        grid.add_column(column, overflow="fold", no_wrap=column in ("id", "device"))
    cards = [[cell if isinstance(cell, Text) else text(cell) for cell in row] for row in rows]
    for card in cards:
        grid.add_row(*card)
    wide = console().options.update(max_width=UNWRAPPED)
    if not cards:
        say(empty)
    elif console().measure(grid, options=wide).maximum <= MOST_WRAPPED * console().width:
        show(grid)
    else:
        for card in cards:
            console().print(card[0])
            facts(("  " + name, cell) for name, cell in zip(columns[1:], card[1:], strict=True))


def facts(pairs: Iterable[tuple[str, object]]) -> None:
    """Print names and values below each other; those without a value are left out."""
    from rich.table import Table  # noqa: PLC0415 - see above
    from rich.text import Text  # noqa: PLC0415 - see above

    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in pairs:
        if value is None or value == "" or (isinstance(value, Text) and not value.plain):
            continue
        grid.add_row(name, value if isinstance(value, Text) else text(value))
    show(grid)


def heading(title: str) -> None:
    """Print the head of a section."""
    console().print()
    console().print(text(title, "bold"))


def value(reading: object, unit: object = "") -> str:
    """Write a value with its unit; floats without the noise of their last bits, no value as a dash."""
    if reading is None:
        return "-"
    if isinstance(reading, bool):
        return str(reading).lower()
    said = format(reading, ".10g") if isinstance(reading, float) else str(reading)
    return f"{said} {shown_unit(unit)}".rstrip()


def shown_unit(unit: object) -> str:
    """Write a UCUM unit as people do."""
    known = {"Cel": "°C", "[degF]": "°F", "1": "", "Ohm": "Ω", "deg": "°"}
    said = str(unit or "")
    return known.get(said, said)


def age_of(item: Item, field: str) -> str:
    """Write how long ago the time `field` of an item was; "" where it is not said."""
    t_us = item.get(f"{field}_us")
    return times.age(t_us, times.now_us()) if isinstance(t_us, int) else ""


def when(item: Item, field: str) -> str:
    """Write the time `field` of an item with its age; "" where it is not said."""
    t_us = item.get(f"{field}_us")
    return f"{times.clock(t_us)} ({times.age(t_us, times.now_us())})" if isinstance(t_us, int) else ""


def sparkline(values: Sequence[float | None], width: int = 60) -> str:
    """Draw values as bars, as many as fit; what is missing is a space. A constant series is drawn at mid-height."""
    buckets = _buckets(values, width)
    present = [one for one in buckets if one is not None]
    if not present:
        return ""
    low, high = min(present), max(present)
    scale = (len(BARS) - 1) / (high - low) if high > low else 0.0
    middle = BARS[len(BARS) // 2 - 1]
    return "".join(" " if one is None else middle if not scale else BARS[round((one - low) * scale)] for one in buckets)


def _buckets(values: Sequence[float | None], width: int) -> list[float | None]:
    """Bring values to at most `width` buckets; a bucket shows its extreme farthest from the mean of all."""
    if len(values) <= width:
        return list(values)
    present = [one for one in values if one is not None]
    mean = sum(present) / len(present) if present else 0.0
    buckets: list[float | None] = []
    for index in range(width):
        part = values[index * len(values) // width : (index + 1) * len(values) // width]
        inside = [one for one in part if one is not None]
        buckets.append(max(inside, key=lambda one: abs(one - mean)) if inside else None)
    return buckets


def dig(item: Any, *path: str) -> Any:  # noqa: ANN401 - JSON
    """Return what lies at a path of an object; None where any part is missing."""
    for part in path:
        item = item.get(part) if isinstance(item, dict) else None
    return item
