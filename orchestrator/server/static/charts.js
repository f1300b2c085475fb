// Small charts of the last two minutes, drawn by hand.

import { byId, el, seconds, svg, setText } from "./dom.js";

const LONG = 120;
const WIDTH = 240, HEIGHT = 56;

const number = (value) => (value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(value % 1 ? 2 : 0));
const perSecond = (value) => `${number(value)}/s`;

const CHARTS = [
  { title: "Requests", lines: [["requests", ""]], words: perSecond, most: 1 },
  { title: "Latency", lines: [["p50", "p50"], ["p99", "p99"]], words: seconds, most: 0.001 },
  { title: "Errors", lines: [["errors", ""]], words: perSecond, most: 1, bad: true, hint: "answers of 500 and above, and 429" },
  { title: "Waiting time", lines: [["wait", ""]], words: seconds, most: 0.001, hint: "a call's mean: before Triton and in Triton's queue" },
  { title: "In flight", lines: [["inFlight", ""]], words: number, most: 1 },
  { title: "Mean batch", lines: [["batch", ""]], words: (value) => `${number(value)} ${value === 1 ? "row" : "rows"}`, most: 1, hint: "rows of a batch that Triton ran" },
];

export class Charts {
  #charts;

  constructor() {
    this.#charts = CHARTS.map((options) => new Chart(options));
    byId("chart-cards").replaceChildren(...this.#charts.map((chart) => chart.element));
  }

  add(sample) {
    for (const chart of this.#charts) chart.add(sample);
  }
}

class Chart {
  constructor({ title, lines, words, most, bad, hint }) {
    Object.assign(this, { lines, words, least: most, bad });
    this.samples = [];
    this.value = el("p", { class: "value" }, "–");
    this.top = el("span", { class: "top-of-scale" });
    this.area = svg("path", { class: "area" });
    this.paths = lines.map((_, n) => svg("path", { class: `line line-${n}` }));
    this.cursor = svg("line", { class: "cursor", y1: 0, y2: HEIGHT, visibility: "hidden" });
    this.picture = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" }, this.area, this.paths, this.cursor);
    this.element = el("figure", {
      class: "card chart", title: hint,
      onpointermove: (event) => this.look(event),
      onpointerleave: () => { this.looked = null; this.show(); },
    }, el("figcaption", {}, title, this.top), this.value, this.picture);
  }

  add(sample) {
    this.samples.push(sample);
    if (this.samples.length > LONG) this.samples.shift();
    this.show();
  }

  look(event) {
    const box = this.picture.getBoundingClientRect();
    this.looked = Math.max(0, Math.min(1, (event.clientX - box.left) / box.width));
    this.show();
  }

  show() {
    const first = LONG - this.samples.length;
    const at = this.looked === null || this.looked === undefined ? this.samples.length - 1 : Math.round(this.looked * (LONG - 1)) - first;
    const sample = this.samples[at];
    const ago = sample && at < this.samples.length - 1 ? el("small", {}, `${this.samples.length - 1 - at} s ago`) : null;
    this.value.replaceChildren(...this.#said(sample), ...(ago ? [ago] : []));
    this.element.classList.toggle("alarm", Boolean(this.bad && sample?.[this.lines[0][0]] > 0));
    const known = this.lines.flatMap(([key]) => this.samples.map((each) => each?.[key]).filter(Number.isFinite));
    const most = nice(Math.max(this.least, ...known));
    setText(this.top, known.length ? this.words(most) : "");
    const x = (n) => ((first + n) / (LONG - 1)) * WIDTH;
    this.lines.forEach(([key], line) => {
      const points = this.samples.map((each, n) => [x(n), each?.[key]]);
      const path = drawn(points, most);
      this.paths[line].setAttribute("d", path);
      if (line === 0) this.area.setAttribute("d", this.lines.length === 1 ? filled(points, most) : "");
    });
    const shown = this.looked !== null && this.looked !== undefined && sample;
    this.cursor.setAttribute("visibility", shown ? "visible" : "hidden");
    if (shown) for (const end of ["x1", "x2"]) this.cursor.setAttribute(end, x(at));
  }

  #said(sample) {
    const said = this.lines.flatMap(([key, name], n) =>
      Number.isFinite(sample?.[key]) ? [el("span", {}, name && el("small", { class: `name-${n}` }, name), this.words(sample[key]))] : []);
    return said.length ? said : ["–"];
  }
}

const y = (value, most) => HEIGHT - 2 - (value / most) * (HEIGHT - 4);

/** Gaps where nothing is known; a lone point is a short dash. */
function drawn(points, most) {
  let path = "", open = false;
  for (const [x, value] of points) {
    if (Number.isFinite(value)) path += `${open ? "L" : "M"}${x.toFixed(1)} ${y(value, most).toFixed(1)}${open ? "" : "h.8"}`;
    open = Number.isFinite(value);
  }
  return path;
}

function filled(points, most) {
  const known = points.filter(([, value]) => Number.isFinite(value));
  if (known.length < 2 || known.length < points.filter(([, value]) => value !== undefined).length) return "";
  return `M${known[0][0].toFixed(1)} ${HEIGHT}${known.map(([x, value]) => `L${x.toFixed(1)} ${y(value, most).toFixed(1)}`).join("")}L${known.at(-1)[0].toFixed(1)} ${HEIGHT}Z`;
}

/** The next of 1, 2, 5 times a power of ten. */
function nice(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((each) => each * power).find((each) => each >= value * 0.999) ?? value;
}
