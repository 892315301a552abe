// The console's own script: hears what moves (SSE), draws the chart (uPlot), keeps ages current. No build step.
"use strict";

const HEARTBEAT_LOST_MS = 45_000; // the server sends something at least every 15 s
const AGAIN_MS = 5_000;           // after the server refused the stream
const REFRESH_MS = 1_000;         // at most one refresh of a fragment in this time
const RARE_MS = 5_000;            // a value flashes only if the one before is older: what always moves need not blink
const REDRAW_MS = 250;            // at most one redraw of the chart for live readings in this time
const MOST_LIVE = 5_000;          // live points in the chart before it is fetched anew, condensed

function age(us) {
  const s = Math.max(0, Math.round(Date.now() / 1000 - us / 1e6));
  if (s < 60) return `${s} s ago`;
  if (s < 3600) return `${Math.floor(s / 60)} min ago`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ago`;
  return `${Math.floor(s / 86400)} d ago`;
}

function showAges() {
  for (const el of document.querySelectorAll("[data-us]")) el.textContent = age(Number(el.dataset.us));
}

// Fragments that carry data-on="kind …" are fetched anew when an event of such a kind arrives. One that is being fetched,
// by a search say, is fetched once more after it: what comes may be older than the event.
const waiting = new Set();
const coming = new Set();
document.addEventListener("htmx:beforeRequest", ({ detail }) => coming.add(detail.target.id));
document.addEventListener("htmx:afterRequest", ({ detail }) => coming.delete(detail.target.id));
function refresh({ id }) {
  if (waiting.has(id)) return;
  waiting.add(id);
  setTimeout(() => { waiting.delete(id); if (coming.has(id)) refresh({ id }); else htmx.trigger(`#${id}`, "moved"); }, REFRESH_MS);
}

function hear() {
  const mark = document.getElementById("live");
  const device = document.body.dataset.device || "";
  const source = new EventSource(`/console/stream?device=${encodeURIComponent(device)}`);
  let last = Date.now();
  const say = (on) => { if (mark) { mark.textContent = on ? "live" : "not live: reconnecting"; mark.classList.toggle("on", on); } };
  source.onopen = () => { last = Date.now(); say(true); };
  source.onerror = () => { // lost: the browser tries again; refused (busy, signed out): we do, and a fragment finds out why
    say(false);
    if (source.readyState !== EventSource.CLOSED) return;
    clearInterval(watchdog);
    setTimeout(() => {
      const typing = [...document.querySelectorAll("textarea")].some((el) => el.value);
      const fragment = document.querySelector("[data-on]");
      if (fragment && !typing) refresh(fragment);
      hear();
    }, AGAIN_MS);
  };
  source.addEventListener("beat", () => { last = Date.now(); });
  source.addEventListener("moved", (message) => {
    last = Date.now();
    const noun = JSON.parse(message.data).noun;
    for (const el of document.querySelectorAll("[data-on]")) {
      if (el.dataset.on.split(" ").includes(noun)) refresh(el);
    }
    if (noun === "alarm" && chart) chart.reload();
  });
  source.addEventListener("live", (message) => {
    last = Date.now();
    for (const reading of JSON.parse(message.data)) showReading(reading);
  });
  const watchdog = setInterval(() => { if (Date.now() - last > HEARTBEAT_LOST_MS) say(false); }, 5_000);
}

function showReading(reading) {
  const tile = document.querySelector(`[data-series="${CSS.escape(reading.name)}"]`);
  if (tile) {
    const v = tile.querySelector(".v");
    v.textContent = reading.v === null ? "no value" : typeof reading.v === "number" ? Number(reading.v.toPrecision(6)) : reading.v;
    if (Date.now() - Number(tile.dataset.shown || 0) > RARE_MS) { v.classList.remove("fresh"); void v.offsetWidth; v.classList.add("fresh"); }
    tile.dataset.shown = Date.now();
    tile.querySelector("[data-us]").dataset.us = reading.t_us;
  }
  if (chart) chart.add(reading);
}

// Tick labels by distance between ticks, in s: format, then what a new day, hour … adds (uPlot's table, 24 h clock).
const CLOCK = [
  [86400, "{MM}-{DD}", "\n{YYYY}", null, null, null, null, null, 1],
  [60, "{HH}:{mm}", "\n{YYYY}-{MM}-{DD}", null, "\n{MM}-{DD}", null, null, null, 1],
  [0, "{HH}:{mm}:{ss}", "\n{YYYY}-{MM}-{DD}", null, "\n{MM}-{DD}", null, null, null, 1],
];

// The chart of one series: an envelope of min and max, alarms as bands, gaps hatched: nothing is drawn over a gap.
let chart = null;

class Chart {
  constructor(el) {
    this.el = el;
    this.device = el.dataset.device;
    this.series = el.dataset.series;
    this.seconds = 3600;
    this.plot = null;
    this.data = null;
    this.live = 0; // points added since the last reload
    this.due = 0;  // the timer of a redraw
  }

  async reload() {
    if (!this.series) return;
    const url = `/console/devices/${this.device}/points?series=${encodeURIComponent(this.series)}&seconds=${this.seconds}&points=${Math.max(200, Math.round(this.el.clientWidth))}`;
    const answer = await fetch(url, { headers: { Accept: "application/json" } });
    if (answer.status === 401) { location.reload(); return; } // signed out meanwhile: the page asks for the token
    if (!answer.ok) { this.say(`The chart could not be loaded (${answer.status}). It is tried again with the next choice.`); return; }
    this.data = await answer.json();
    this.live = 0;
    this.breakAtGaps();
    this.draw();
  }

  breakAtGaps() { // a point without a value in each gap and silence, so that no line is drawn over it
    const { t, min, max, gaps, silences } = this.data;
    for (const at of [...gaps.map(({ from }) => from), ...silences.map(({ from, to }) => (from + to) / 2)]) {
      const next = t.findIndex((each) => each >= at);
      if (next <= 0 || t[next] <= at) continue;
      t.splice(next, 0, at); min.splice(next, 0, null); max.splice(next, 0, null);
    }
  }

  say(text) { document.getElementById("chart-note").textContent = text; }

  add(reading) {
    if (!this.data || reading.name !== this.series || typeof reading.v !== "number") return;
    const { t, min, max } = this.data;
    const at = reading.t_us / 1e6;
    if (t.length && at < t[t.length - 1]) return;
    t.push(at); min.push(reading.v); max.push(reading.v);
    while (t.length && t[0] < at - this.seconds) { t.shift(); min.shift(); max.shift(); }
    if (!this.plot) { this.draw(); return; }
    if (++this.live > MOST_LIVE) { this.live = 0; this.reload(); return; }
    if (this.due) return;
    this.due = setTimeout(() => { this.due = 0; if (this.plot) this.plot.setData([this.data.t, this.data.min, this.data.max]); }, REDRAW_MS);
  }

  colours() {
    const style = getComputedStyle(document.documentElement);
    return (name) => style.getPropertyValue(name).trim();
  }

  marks() {
    const colour = this.colours();
    const band = (u, from, to, fill) => {
      const left = Math.max(u.bbox.left, u.valToPos(from, "x", true));
      const right = Math.min(u.bbox.left + u.bbox.width, u.valToPos(to, "x", true));
      if (right < left) return;
      u.ctx.fillStyle = fill;
      u.ctx.fillRect(left, u.bbox.top, Math.max(2, right - left), u.bbox.height);
    };
    return { hooks: { drawClear: [(u) => {
      for (const gap of this.data.gaps) band(u, gap.from, gap.to, colour("--idle-bg"));
      for (const alarm of this.data.alarms) band(u, alarm.from, alarm.to ?? Date.now() / 1000, colour("--bad-bg"));
    }], draw: [(u) => {
      for (const alarm of this.data.alarms) {
        if (alarm.series !== this.series) continue;
        const x = u.valToPos(alarm.from, "x", true);
        u.ctx.strokeStyle = colour("--bad");
        u.ctx.lineWidth = 2;
        u.ctx.beginPath(); u.ctx.moveTo(x, u.bbox.top); u.ctx.lineTo(x, u.bbox.top + u.bbox.height); u.ctx.stroke();
      }
    }] } };
  }

  draw() {
    const colour = this.colours();
    const { t, min, max, unit, resolution, gaps, unsure, alarms } = this.data;
    if (this.plot) this.plot.destroy();
    this.plot = null;
    this.el.replaceChildren();
    if (!t.length) { this.say(`No readings of ${this.series} in this time.`); return; }
    const axis = { stroke: colour("--soft"), grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line") } };
    const end = Date.now() / 1000;
    this.plot = new uPlot({
      width: this.el.clientWidth, height: 300, plugins: [this.marks()],
      scales: { x: { range: () => [Math.max(t[0], end - this.seconds), Math.max(end, t[t.length - 1])] } },
      cursor: { drag: { x: true, y: false } },
      axes: [{ ...axis, values: CLOCK }, { ...axis, size: 64, values: (u, ticks) => ticks.map((v) => `${Number(v.toPrecision(6))}`) }],
      series: [
        { label: "time", value: "{YYYY}-{MM}-{DD} {HH}:{mm}:{ss}" },
        { label: `min${unit ? ` (${unit})` : ""}`, stroke: colour("--accent"), width: 1.5 },
        { label: "max", stroke: colour("--accent"), width: 1.5 },
      ],
      bands: [{ series: [2, 1], fill: "rgba(80, 140, 220, .25)" }],
    }, [t, min, max], this.el);
    const marks = [`${t.length} points, ${resolution}`];
    if (gaps.length) marks.push(`${gaps.length} gap${gaps.length > 1 ? "s" : ""} (grey): readings that never came`);
    if (unsure.length) marks.push("the device's clock was not sure of all these times");
    if (alarms.length) marks.push(`${alarms.length} alarm${alarms.length > 1 ? "s" : ""} (red)`);
    this.say(marks.join(" · "));
  }
}

function choose(buttons, chosen) {
  for (const button of buttons) button.setAttribute("aria-pressed", String(button === chosen));
}

function startChart() {
  const el = document.getElementById("chart");
  if (!el) return;
  chart = new Chart(el);
  chart.reload();
  document.addEventListener("click", (event) => {
    const tile = event.target.closest("[data-series]");
    const range = event.target.closest("[data-seconds]");
    if (tile && tile !== el) {
      chart.series = el.dataset.series = tile.dataset.series;
      choose(document.querySelectorAll(".values [data-series]"), tile);
      chart.reload();
    } else if (range) {
      chart.seconds = Number(range.dataset.seconds);
      choose(document.querySelectorAll("[data-seconds]"), range);
      chart.reload();
    }
  });
  let width = el.clientWidth;
  new ResizeObserver(() => {
    if (el.clientWidth !== width && chart.plot) { width = el.clientWidth; chart.plot.setSize({ width, height: 300 }); }
  }).observe(el);
}

document.addEventListener("keydown", (event) => {
  const search = document.querySelector("input[type=search]");
  if (event.key === "/" && search && !/^(INPUT|TEXTAREA|SELECT)$/.test(document.activeElement.tagName)) {
    event.preventDefault();
    search.focus();
  }
});
document.addEventListener("htmx:afterSwap", () => {
  showAges();
  if (chart) choose(document.querySelectorAll(".values [data-series]"), document.querySelector(`.values [data-series="${CSS.escape(chart.series)}"]`));
});
document.addEventListener("DOMContentLoaded", () => {
  showAges();
  setInterval(showAges, 1_000);
  startChart();
  if (document.body.dataset.hear !== undefined) hear();
});
