"""What a run found, as JSON and as one page that holds everything it shows: figures, plots (SVG), errors, verdict."""

import html
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

from firmware_sim.swarm.ledger import Verdict
from firmware_sim.swarm.meter import Latency, Sample

MIB = 1024 * 1024
WIDTH, HEIGHT, MARGIN = 720, 160, 48
COLOURS = ("#1b6ca8", "#c0392b", "#2e8b57", "#8e44ad", "#d68910")
TICKS = 4
Line = Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Report:
    """One run: what was asked for, what was counted, second by second, and the verdict."""

    asked: Mapping[str, Any]
    seconds: float  # from the first call to the last ack
    counts: Mapping[str, int]
    errors: Mapping[str, int]
    latency: Latency
    samples: Sequence[Sample]
    verdict: Verdict
    marks: Mapping[str, float]  # figures of the mode itself: "back_s", "hint_s" …

    def figures(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return {
            "asked": dict(self.asked),
            "seconds": round(self.seconds, 3),
            "readings_acked": self.verdict.acked,
            "readings_a_s": round(self.verdict.acked / self.seconds, 1) if self.seconds else 0.0,
            "ack_s": {
                "p50": round(self.latency.percentile_s(0.5), 5),
                "p95": round(self.latency.percentile_s(0.95), 5),
                "p99": round(self.latency.percentile_s(0.99), 5),
                "max": round(self.latency.most_s, 5),
            },
            "counts": dict(sorted(self.counts.items())),
            "errors": dict(sorted(self.errors.items())),
            "marks": dict(self.marks),
            "usage": self.usage(),
            "verdict": {"clean": self.verdict.is_clean, **asdict(self.verdict)},
            "samples": [_sample(one) for one in self.samples],
        }

    def usage(self) -> dict[str, dict[str, float]]:
        """Return what each watched process used over the run: cores on average, MiB at the end and at most."""
        found: dict[str, dict[str, float]] = {}
        for name in sorted({name for one in self.samples for name in one.usage}):
            seen = [(one.t_s, one.usage[name]) for one in self.samples if name in one.usage]
            took_s = seen[-1][0] - seen[0][0]
            found[name] = {
                "cores": round((seen[-1][1].cpu_s - seen[0][1].cpu_s) / took_s, 3) if took_s else 0.0,
                "rss_mib": round(seen[-1][1].rss_bytes / MIB, 1),
                "most_rss_mib": round(max(use.rss_bytes for _, use in seen) / MIB, 1),
            }
        return found

    def sentence(self) -> str:
        """Return the outcome in a line or two."""
        verdict, figures = self.verdict, self.figures()
        ack = figures["ack_s"]
        said = (
            f"{verdict.acked:,} readings acked in {self.seconds:.1f} s ({figures['readings_a_s']:,.0f}/s); "
            f"ack p50 {ack['p50'] * 1000:.1f} ms, p99 {ack['p99'] * 1000:.1f} ms. "
        )
        if verdict.is_clean:
            said += "Nothing lost, doubled or changed."
        else:
            said += f"LOST {verdict.lost:,}, DOUBLED {verdict.doubled:,}, CHANGED series {verdict.changed:,}: "
            said += "; ".join(verdict.examples)
        if verdict.refused:
            said += f" Refused: {verdict.refused:,}."
        if verdict.waiting:
            said += f" Not acked when it ended: {verdict.waiting:,}."
        return said

    def page(self) -> str:
        """Return the page."""
        samples = self.samples
        usage = sorted({name for one in samples for name in one.usage})
        plots = [
            _plot("readings acked a second", {"readings/s": _rate(samples, lambda one: one.readings)}),
            _plot(
                "ack latency, ms",
                {
                    "p50": [(one.t_s, one.p50_s * 1000) for one in samples],
                    "p99": [(one.t_s, one.p99_s * 1000) for one in samples],
                },
            ),
            _plot("links open", {"links": [(one.t_s, one.connected) for one in samples]}),
            _plot("errors a second", {"errors/s": _rate(samples, lambda one: one.errors)}),
            _plot("cores", {name: _cores(samples, name) for name in usage}),
            _plot(
                "resident, MiB",
                {
                    name: [(one.t_s, one.usage[name].rss_bytes / MIB) for one in samples if name in one.usage]
                    for name in usage
                },
            ),
        ]
        figures = self.figures()
        tables = [
            _table("Asked for", figures["asked"]),
            _table("Counted", figures["counts"]),
            _table("Errors", figures["errors"] or {"none": 0}),
            _table("Marks", figures["marks"]),
            _table("Verdict", {key: value for key, value in figures["verdict"].items() if key != "examples"}),
        ]
        return PAGE.format(
            title=html.escape(f"Swarm: {self.asked.get('mode', '')}"),
            sentence=html.escape(self.sentence()),
            plots="\n".join(plots),
            tables="\n".join(tables),
        )


PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{title}</title>
<style>
body {{ font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 76rem; padding: 0 1rem; color: #222; }}
.plots, .tables {{ display: flex; flex-wrap: wrap; gap: 1.5rem; }}
figure {{ margin: 0; }} figcaption {{ font-weight: 600; }}
table {{ border-collapse: collapse; }} caption {{ font-weight: 600; text-align: left; }}
td {{ padding: .1rem .8rem .1rem 0; border-bottom: 1px solid #ddd; }} td + td {{ text-align: right; }}
svg text {{ font-size: 11px; fill: #555; }}
</style>
<h1>{title}</h1><p>{sentence}</p>
<div class="plots">{plots}</div><div class="tables">{tables}</div></html>
"""


def _sample(one: Sample) -> dict[str, Any]:
    told = asdict(one)
    return {key: round(value, 5) if isinstance(value, float) else value for key, value in told.items()}


def _rate(samples: Sequence[Sample], of: Callable[[Sample], int]) -> Line:
    return [
        (after.t_s, (of(after) - of(before)) / (after.t_s - before.t_s))
        for before, after in pairwise(samples)
        if after.t_s > before.t_s
    ]


def _cores(samples: Sequence[Sample], name: str) -> Line:
    seen = [one for one in samples if name in one.usage]
    return [
        (after.t_s, (after.usage[name].cpu_s - before.usage[name].cpu_s) / (after.t_s - before.t_s))
        for before, after in pairwise(seen)
        if after.t_s > before.t_s
    ]


def _plot(title: str, lines: Mapping[str, Line]) -> str:
    """Draw lines over seconds, from 0 upwards, each with its name and its last value."""
    most_x = max((x for line in lines.values() for x, _ in line), default=0.0) or 1.0
    most_y = max((y for line in lines.values() for _, y in line), default=0.0) or 1.0
    parts = []
    for i in range(TICKS + 1):
        y = HEIGHT - HEIGHT * i / TICKS
        parts.append(f'<path d="M{MARGIN} {y + 8:.1f}H{MARGIN + WIDTH}" stroke="#ddd"/>')
        parts.append(f'<text x="{MARGIN - 6}" y="{y + 12:.1f}" text-anchor="end">{_short(most_y * i / TICKS)}</text>')
        x = MARGIN + WIDTH * i / TICKS
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT + 24}" text-anchor="middle">{_short(most_x * i / TICKS)} s</text>')
    for number, (name, line) in enumerate(lines.items()):
        colour = COLOURS[number % len(COLOURS)]
        points = " ".join(f"{MARGIN + WIDTH * x / most_x:.1f},{8 + HEIGHT - HEIGHT * y / most_y:.1f}" for x, y in line)
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        parts.append(f'<text x="{MARGIN + 8 + 110 * number}" y="20" style="fill:{colour}">{html.escape(name)}</text>')
    box = f"0 0 {WIDTH + MARGIN + 16} {HEIGHT + 32}"
    svg = f'<svg viewBox="{box}" width="{WIDTH + MARGIN + 16}" role="img">{"".join(parts)}</svg>'
    return f"<figure><figcaption>{html.escape(title)}</figcaption>{svg}</figure>"


def _short(value: float) -> str:
    for limit, sign in ((1e6, "M"), (1e3, "k")):
        if value >= limit:
            return f"{value / limit:.3g}{sign}"
    return f"{value:.3g}"


def _table(title: str, rows: Mapping[str, object]) -> str:
    body = "".join(f"<tr><td>{html.escape(str(k))}</td><td>{html.escape(_cell(v))}</td></tr>" for k, v in rows.items())
    return f"<table><caption>{html.escape(title)}</caption>{body}</table>"


def _cell(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
