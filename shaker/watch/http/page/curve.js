// One curve of the last minutes in a <figure data-curve>: number, scale, line, and the sample under the pointer.

import { clock } from "./text.js";

const SPANS = [60, 120, 300]; // seconds from the left edge to the right one; the first that holds all samples
const GAP = 4; // seconds without a sample that are drawn as a gap
const WIDTH = 600; // of the drawing, in its own units: the page stretches it
const HEIGHT = 120;

const svg = (name, attributes) => {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
};

// The smallest round number that is not below `value`: 1, 2 or 5 and zeros, or a power of two for bytes.
function ceiling(value, binary) {
  if (binary) return 2 ** Math.ceil(Math.log2(value));
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((step) => step * power).find((round) => round >= value);
}

export class Curve {
  // `least` is the lowest top of the scale, so that a flat line does not look like a mountain.
  constructor(figure, { title, text, least, binary = false }) {
    Object.assign(this, { title, text, least, binary, points: [], top: least, now: 0, span: SPANS[0], pointed: null });
    const find = (part) => figure.querySelector(`.${part}`);
    this.parts = Object.fromEntries(["now", "peak", "top", "plot", "point", "from"].map((part) => [part, find(part)]));
    this.drawing = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img" });
    this.area = svg("path", { class: "area" });
    this.line = svg("path", { class: "line" });
    this.mark = svg("path", { class: "mark" });
    this.drawing.append(this.area, this.line, this.mark);
    this.parts.plot.append(this.drawing);
    this.parts.plot.addEventListener("pointermove", (event) => {
      const box = this.parts.plot.getBoundingClientRect();
      this.pointed = Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
      this.point();
    });
    this.parts.plot.addEventListener("pointerleave", () => {
      this.pointed = null;
      this.point();
    });
  }

  // `points` are [Unix time, value], oldest first; `now` is Unix time at the right edge.
  draw(points, now) {
    this.now = now;
    const age = points.length ? now - points[0][0] : 0;
    this.span = SPANS.find((span) => age <= span) ?? SPANS.at(-1);
    this.points = points.filter(([at]) => now - at <= this.span);
    const peak = this.points.reduce((highest, [, value]) => Math.max(highest, value), 0);
    this.top = ceiling(Math.max(peak, this.least), this.binary);
    let [line, area, run] = ["", "", []];
    const close = () => {
      if (run.length) {
        const path = run.map(([x, y]) => `${x.toFixed(1)},${y.toFixed(1)}`).join("L");
        // A lone sample is drawn as a dot, by the round end of a line without length.
        line += `M${path}${run.length === 1 ? "h0" : ""}`;
        area += `M${run[0][0].toFixed(1)},${HEIGHT}L${path}L${run.at(-1)[0].toFixed(1)},${HEIGHT}Z`;
      }
      run = [];
    };
    this.points.forEach(([at, value], place) => {
      if (place && at - this.points[place - 1][0] > GAP) close();
      run.push([this.x(at), this.y(value)]);
    });
    close();
    this.line.setAttribute("d", line);
    this.area.setAttribute("d", area);
    const current = this.points.length ? this.text(this.points.at(-1)[1]) : "not known yet";
    this.write("now", current);
    this.write("peak", `highest ${this.text(peak)}`);
    this.write("top", this.text(this.top));
    const minutes = this.span === 60 ? "minute" : `${this.span / 60} minutes`;
    this.write("from", `${this.span / 60} ${this.span === 60 ? "minute" : "minutes"} ago`);
    const label = `${this.title}, last ${minutes}: now ${current}, highest ${this.text(peak)}`;
    if (this.drawing.getAttribute("aria-label") !== label) this.drawing.setAttribute("aria-label", label);
    this.point();
  }

  x(at) {
    return WIDTH * (1 - (this.now - at) / this.span);
  }

  y(value) {
    return HEIGHT * (1 - value / this.top);
  }

  // Show the sample nearest to the pointer.
  point() {
    const at = this.now - this.span * (1 - this.pointed);
    const near = this.points.filter((point) => this.pointed !== null && Math.abs(point[0] - at) <= GAP);
    const found = near.sort((one, other) => Math.abs(one[0] - at) - Math.abs(other[0] - at))[0];
    this.mark.setAttribute("d", found ? `M${this.x(found[0]).toFixed(1)},0V${HEIGHT}` : "");
    this.write("point", found ? `${clock(found[0])}  ${this.text(found[1])}` : "");
  }

  write(part, text) {
    if (this.parts[part].textContent !== text) this.parts[part].textContent = text;
  }
}
