"use strict";
// One chart: the curves of one metric, drawn as SVG, with a crosshair for pointer and keyboard.

const NS = "http://www.w3.org/2000/svg";
const HEIGHT = 220;

function make(tag, attributes = {}, parent = null, space = NS) {
  const node = document.createElementNS(space, tag);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (parent) parent.append(node);
  return node;
}

function element(tag, parent, text = "", classes = "") {
  const node = document.createElement(tag);
  node.textContent = text;
  if (classes) node.className = classes;
  parent.append(node);
  return node;
}

/** Formats a value with six digits, integers in full; null stands for NaN and infinity. */
function shownValue(value) {
  if (value === null) return "not finite";
  const size = Math.abs(value);
  if (Number.isInteger(value) && size < 1e15) return value.toLocaleString("en-US");
  if (size >= 1e5 && size < 1e15) return value.toLocaleString("en-US", { maximumFractionDigits: 1 });
  return String(Number(value.toPrecision(6)));
}

function shownTick(value) {
  const size = Math.abs(value);
  const short = (x) => String(Number(x.toPrecision(4)));
  if (size >= 1e15 || (size > 0 && size < 1e-3)) return value.toExponential(1).replace(".0e", "e");
  if (size >= 1e6) return short(value / 1e6) + "M";
  if (size >= 1e4) return short(value / 1e3) + "k";
  return short(value);
}

/** Returns about so many round numbers between two ends. */
function ticks(low, high, count) {
  const raw = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= raw * 0.999);
  const found = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) found.push(i * step);
  return found;
}

/** Returns powers of ten between two ends, with multiples of 2 and 5 if there are few. */
function logTicks(low, high) {
  const wide = Math.log10(high / low) > 2.5;
  const found = [];
  for (let p = Math.floor(Math.log10(low)); p <= Math.log10(high); p++) {
    for (const m of wide ? [1] : [1, 2, 5]) {
      const tick = m * 10 ** p;
      if (tick >= low && tick <= high) found.push(tick);
    }
  }
  if (found.length < 2) return ticks(low, high, 3).filter((tick) => tick > 0);
  const every = Math.ceil(found.length / 6);
  return found.filter((_, i) => i % every === 0);
}

/** Returns the index of the number nearest to x in an ascending list. */
function nearest(list, x) {
  let low = 0, high = list.length - 1;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (list[middle] <= x) low = middle; else high = middle;
  }
  return Math.abs(list[high] - x) < Math.abs(list[low] - x) ? high : low;
}

class Chart {
  /** curves: [[run, steps, values], ...]; labels: of all runs; shown: set of runs drawn. */
  constructor(parent, name, curves, labels, shown) {
    Object.assign(this, { name, curves, labels, shown, log: false, at: null });
    this.figure = element("figure", parent, "", "chart");
    this.figure.dataset.metric = name;
    const head = element("figcaption", this.figure);
    element("h3", head, name);
    this.button = element("button", head, "log", "small");
    this.button.type = "button";
    this.button.setAttribute("aria-pressed", "false");
    this.button.setAttribute("aria-label", `Logarithmic scale for ${name}`);
    this.button.addEventListener("click", () => this.toggleLog());
    const positive = curves.some(([, , values]) => values.some((v) => v > 0));
    if (!positive) this.button.hidden = true;
    this.plot = element("div", this.figure, "", "plot");
    this.svg = make("svg", { tabindex: 0, role: "slider", "aria-label": `${name} by step` }, this.plot);
    this.tip = element("div", this.plot, "", "tip");
    this.tip.hidden = true;
    this.note = element("p", this.figure, "", "muted small-note");
    this.listen();
  }

  toggleLog() {
    this.log = !this.log;
    this.button.setAttribute("aria-pressed", String(this.log));
    this.draw();
  }

  listen() {
    const move = (event) => {
      if (!this.steps.length) return;
      const x = event.clientX - this.svg.getBoundingClientRect().left;
      this.show(nearest(this.steps, this.stepAt(x)));
    };
    this.svg.addEventListener("pointermove", move);
    this.svg.addEventListener("pointerdown", move);
    this.svg.addEventListener("pointerleave", (event) => {
      if (event.pointerType === "mouse" && document.activeElement !== this.svg) this.hide();
    });
    this.svg.addEventListener("focus", () => {
      if (this.at === null && this.steps.length) this.show(this.steps.length - 1);
    });
    this.svg.addEventListener("blur", () => this.hide());
    this.svg.addEventListener("keydown", (event) => {
      const last = this.steps.length - 1, at = this.at ?? last;
      const far = Math.max(1, Math.round(last / 10));
      const to = {
        ArrowLeft: at - 1, ArrowDown: at - 1, ArrowRight: at + 1, ArrowUp: at + 1,
        PageDown: at - far, PageUp: at + far, Home: 0, End: last,
      }[event.key];
      if (event.key === "Escape") this.hide();
      if (to === undefined || last < 0) return;
      event.preventDefault();
      this.show(Math.min(last, Math.max(0, to)));
    });
  }

  /** Redraws after a change of width, scale or runs. */
  draw() {
    if (!this.plot.clientWidth) return; // folded; drawn when opened
    const width = this.plot.clientWidth;
    const drawn = (v) => v !== null && (!this.log || v > 0);
    const visible = this.curves.filter(([run]) => this.shown.has(run));
    this.visible = visible;
    this.steps = [...new Set(visible.flatMap(([, steps]) => steps))].sort((a, b) => a - b);
    const values = visible.flatMap(([, , list]) => list).filter(drawn);
    this.svg.replaceChildren();
    this.svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    this.svg.setAttribute("height", HEIGHT);
    this.hide();
    const hidden = visible.flatMap(([, , list]) => list).filter((v) => v !== null && !drawn(v)).length;
    const have = hidden === 1 ? "value at or below 0 has" : "values at or below 0 have";
    this.note.textContent = hidden ? `${hidden} ${have} no place on this scale.` : "";
    if (!values.length) {
      const why = visible.length ? "No finite value." : "No run is shown.";
      const text = make("text", { x: width / 2, y: HEIGHT / 2, class: "empty" }, this.svg);
      text.textContent = why;
      return;
    }
    let low = values.reduce((a, b) => Math.min(a, b)), high = values.reduce((a, b) => Math.max(a, b));
    if (this.log) {
      if (low === high) { low /= 2; high *= 2; }
      const margin = (high / low) ** 0.05;
      low /= margin; high *= margin;
    } else {
      const margin = (high - low) * 0.06 || Math.abs(high) * 0.1 || 1;
      low -= margin; high += margin;
    }
    let first = this.steps[0], last = this.steps[this.steps.length - 1];
    if (first === last) { first -= 1; last += 1; }
    const yTicks = this.log ? logTicks(low, high) : ticks(low, high, 5);
    const left = 14 + 7 * Math.max(...yTicks.map((t) => shownTick(t).length));
    const [right, top, bottom] = [14, 8, 24];
    const place = (v) => (this.log ? Math.log(v / low) / Math.log(high / low) : (v - low) / (high - low));
    const inner = left + 6; // keeps a dot at the first step off the axis
    this.x = (step) => inner + ((step - first) / (last - first)) * (width - inner - right);
    this.y = (v) => HEIGHT - bottom - place(v) * (HEIGHT - top - bottom);
    this.stepAt = (x) => first + ((x * width / this.svg.clientWidth - inner) / (width - inner - right)) * (last - first);
    this.ends = { top, bottom: HEIGHT - bottom, width };
    for (const tick of yTicks) {
      const y = this.y(tick);
      make("line", { x1: left, x2: width - right, y1: y, y2: y, class: "rule" }, this.svg);
      make("text", { x: left - 6, y: y + 4, class: "tick end" }, this.svg).textContent = shownTick(tick);
    }
    for (const tick of ticks(first, last, Math.max(3, Math.floor(width / 100)))) {
      if (!Number.isInteger(tick)) continue;
      const text = make("text", { x: this.x(tick), y: HEIGHT - 6, class: "tick" }, this.svg);
      text.textContent = shownTick(tick);
      if (this.x(tick) > width - right - 8) text.classList.add("end");
    }
    for (const curve of visible) this.curve(curve, drawn);
    this.cross = make("g", { class: "cross" }, this.svg);
    this.svg.setAttribute("aria-valuemin", this.steps[0]);
    this.svg.setAttribute("aria-valuemax", this.steps[this.steps.length - 1]);
    this.speak(this.steps.length - 1);
  }

  /** Draws one line, interrupted at missing values; an isolated point is a dot. */
  curve([run, steps, values], drawn) {
    const colour = `s${run % 8}${run >= 8 ? " dashed" : ""}`;
    let path = "", joined = 0;
    const dots = [];
    steps.forEach((step, i) => {
      if (!drawn(values[i])) { joined = 0; return; }
      const alone = !joined && !(i + 1 < steps.length && drawn(values[i + 1]));
      const at = `${this.x(step).toFixed(1)} ${this.y(values[i]).toFixed(1)}`;
      if (alone) dots.push([this.x(step), this.y(values[i])]);
      path += (joined++ ? "L" : "M") + at;
    });
    make("path", { d: path, class: `line ${colour}` }, this.svg);
    for (const [cx, cy] of dots) make("circle", { cx, cy, r: 3, class: `dot ${colour}` }, this.svg);
  }

  /** Returns [run, step, value] of each visible run at its step nearest to a given one. */
  readings(i) {
    const step = this.steps[i];
    return this.visible.flatMap(([run, steps, values]) => {
      if (step < steps[0] || step > steps[steps.length - 1]) return [];
      const own = nearest(steps, step);
      return [[run, steps[own], values[own]]];
    });
  }

  show(i) {
    if (!this.cross) return;
    this.at = i;
    const step = this.steps[i], x = this.x(step);
    this.cross.replaceChildren();
    make("line", { x1: x, x2: x, y1: this.ends.top, y2: this.ends.bottom }, this.cross);
    this.tip.replaceChildren();
    element("p", this.tip, `step ${step.toLocaleString("en-US")}`, "tip-step");
    for (const [run, own, value] of this.readings(i)) {
      const row = element("p", this.tip, "", "tip-row");
      row.dataset.run = run;
      element("span", row, "", `swatch c${run % 8}`);
      element("span", row, this.labels[run], "tip-name");
      element("span", row, shownValue(value), "tip-value");
      if (own !== step) element("span", row, `at ${own.toLocaleString("en-US")}`, "muted");
      if (value !== null && (!this.log || value > 0)) {
        make("circle", { cx: this.x(own), cy: this.y(value), r: 4, class: `dot s${run % 8}` }, this.cross);
      }
    }
    this.tip.hidden = false;
    const scale = this.svg.clientWidth / this.ends.width, margin = this.plot.clientWidth;
    const wide = this.tip.offsetWidth, right = x * scale + 12;
    const left = right + wide <= margin ? right : x * scale - 12 - wide;
    this.tip.style.left = `${Math.max(0, Math.min(left, margin - wide))}px`;
    this.speak(i);
  }

  speak(i) {
    const parts = this.readings(i).map(([run, , value]) => `${this.labels[run]} ${shownValue(value)}`);
    this.svg.setAttribute("aria-valuenow", this.steps[i]);
    this.svg.setAttribute("aria-valuetext", `step ${this.steps[i]}: ${parts.join(", ")}`);
  }

  hide() {
    this.at = null;
    this.tip.hidden = true;
    if (this.cross) this.cross.replaceChildren();
  }
}
