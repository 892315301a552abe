"""How the cost grows from 100 to 10,000 devices: a table, and with --svg the plot of docs/reference/performance.md.

    python bench/fleet/growth.py [--devices 100,1000,10000] [--seconds 120] [--svg docs/img/growth.svg] [--show]

Ten series each ten seconds, a call each ten seconds, one server on SQLite for all; enrolling is not counted.
"""

import argparse
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from _growth import SYNC_EVERY, Cost, serving, steady

WIDTH, HEIGHT, LEFT, RIGHT, TOP = 260, 180, 56, 28, 28
HEAD = (
    "devices", "readings/s", "fleet, cores", "broker, cores", "fleet, MiB", "broker, MiB", "ack p50, ms", "p99, ms",
    "lost",
)  # fmt: skip
COLOURS = {"fleet": "#1b6ca8", "nats-server": "#c0392b", "swarm": "#888888", "p50": "#1b6ca8", "p99": "#c0392b"}


def main() -> None:
    """Print the table; write the plot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devices", default="100,1000,10000")
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--svg", type=Path)
    parser.add_argument("--show", action="store_true", help="the swarm's progress")
    told = parser.parse_args()
    numbers = [int(text) for text in told.devices.split(",")]
    with serving("sqlite", *SYNC_EVERY) as fleet:
        costs = [steady(fleet, devices, told.seconds, show=told.show) for devices in numbers]
    print(f"| {' | '.join(HEAD)} |")
    print("|" + "---|" * len(HEAD))
    for cost in costs:
        cores = [f"{cost.cores.get(name, 0):.3f}" for name in ("fleet", "nats-server")]
        memory = [f"{cost.rss_mib.get(name, (0, 0))[1]:.0f}" for name in ("fleet", "nats-server")]
        acks = [f"{seconds * 1000:.0f}" for seconds in (cost.ack_p50_s, cost.ack_p99_s)]
        lost = "nothing" if cost.verdict["clean"] else cost.verdict["lost"]
        row = (f"{cost.devices:,}", f"{cost.readings_a_s:,.0f}", *cores, *memory, *acks, lost)
        print("| " + " | ".join(map(str, row)) + " |")
    if told.svg:
        told.svg.write_text(plot(costs))


def plot(costs: Sequence[Cost]) -> str:
    """Draw cores, memory and latency over the number of devices, all on logarithmic scales."""
    names = ("fleet", "nats-server")
    panels = (
        ("cores", {name: [(c.devices, c.cores.get(name, 0)) for c in costs] for name in names}),
        ("MiB resident", {name: [(c.devices, c.rss_mib.get(name, (0, 0))[1]) for c in costs] for name in names}),
        ("ack, ms", {"p50": [(c.devices, c.ack_p50_s * 1e3) for c in costs],
                     "p99": [(c.devices, c.ack_p99_s * 1e3) for c in costs]}),
    )  # fmt: skip
    width = (LEFT + WIDTH + RIGHT) * len(panels)
    parts = [_panel(title, lines, at * (LEFT + WIDTH + RIGHT)) for at, (title, lines) in enumerate(panels)]
    style = "<style>text{font:11px system-ui,sans-serif;fill:#444}</style>"
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {HEIGHT + TOP + 40}" width="{width}">'
    return f'{head}{style}<rect width="100%" height="100%" fill="#fff"/>{"".join(parts)}</svg>\n'


def _panel(title: str, lines: Mapping[str, Sequence[tuple[float, float]]], left: int) -> str:
    points = [(x, max(y, 1e-3)) for line in lines.values() for x, y in line]
    low_x, high_x = math.log10(min(x for x, _ in points)), math.log10(max(x for x, _ in points))
    low_y, high_y = math.floor(math.log10(min(y for _, y in points))), math.ceil(math.log10(max(y for _, y in points)))

    def place(x: float, y: float) -> tuple[float, float]:
        across = (math.log10(x) - low_x) / ((high_x - low_x) or 1)
        up = (math.log10(max(y, 1e-3)) - low_y) / ((high_y - low_y) or 1)
        return left + LEFT + WIDTH * across, TOP + HEIGHT * (1 - up)

    parts = [f'<text x="{left + LEFT}" y="16" style="font-weight:600">{title}</text>']
    for power in range(low_y, high_y + 1):
        y = place(10**low_x, 10.0**power)[1]
        parts.append(f'<path d="M{left + LEFT} {y:.1f}h{WIDTH}" stroke="#ddd"/>')
        parts.append(f'<text x="{left + LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{10.0**power:g}</text>')
    for x in sorted({x for x, _ in points}):
        across = place(x, 1)[0]
        parts.append(f'<text x="{across:.1f}" y="{TOP + HEIGHT + 18}" text-anchor="middle">{x:,.0f}</text>')
    parts.append(f'<text x="{left + LEFT + WIDTH}" y="{TOP + HEIGHT + 34}" text-anchor="end">devices</text>')
    for number, (name, line) in enumerate(lines.items()):
        drawn = " ".join("{:.1f},{:.1f}".format(*place(x, y)) for x, y in line)
        colour = COLOURS[name]
        parts.append(f'<polyline points="{drawn}" fill="none" stroke="{colour}" stroke-width="2"/>')
        at = left + LEFT + 90 * number
        parts.append(f'<text x="{at}" y="{TOP + HEIGHT + 34}" style="fill:{colour}">{name}</text>')
    return "".join(parts)


if __name__ == "__main__":
    main()
