// ---- drawings

const sized = (width, height) => ({ viewBox: `0 0 ${width} ${height}`, width, height });
const drawing = (width, height, attributes, ...children) =>
  s("svg", { ...sized(width, height), ...attributes }, ...children);
const redrawn = (svg, width, height, ...children) => {
  svg.replaceChildren();
  add(svg, sized(width, height), children);
};

// Marks as the options of a list.
const listbox = (label, options) => s("g", { role: "listbox", "aria-label": label }, options);
const shared = (names) => [...new Set(names.map(String))];
const hidden = (...children) => s("g", { "aria-hidden": true }, children);

// Marks of groups differ in shape as well as in colour.
const N_KINDS = 8;
const SHAPES = [
  "M-5,0A5,5 0 1 0 5,0A5,5 0 1 0 -5,0Z", "M-4.5,-4.5H4.5V4.5H-4.5Z", "M0,-6L5.6,4.5H-5.6Z",
  "M0,-6.2L6.2,0L0,6.2L-6.2,0Z", "M0,6L5.6,-4.5H-5.6Z",
  "M-2,-6H2V-2H6V2H2V6H-2V2H-6V-2H-2Z", "M0,-6L5.7,-1.9L3.5,4.9H-3.5L-5.7,-1.9Z",
  "M0,-6.5L1.8,-1.8L6.5,0L1.8,1.8L0,6.5L-1.8,1.8L-6.5,0L-1.8,-1.8Z",
];
const DASHES = ["", "6 3", "2 3", "8 3 2 3", "1 4", "10 4", "4 2 1 2", "12 2"];
const mark = (kind, x, y, attributes) =>
  s("path", { d: SHAPES[kind % N_KINDS], class: "mark", transform: `translate(${x},${y})`,
    style: { fill: `var(--c${kind % N_KINDS})` }, ...attributes });
const legend = (names, shape) =>
  h("ul.legend", names.map((name, i) => h("li", drawing(16, 16, { "aria-hidden": true },
    mark(i, 8, 8, shape && { d: SHAPES[shape] })), phrase(name, 40))));

function niceTicks(low, high, n) {
  const rough = (high - low) / n, power = 10 ** floor(log10(rough));
  const step = [1, 2, 5, 10].map((m) => m * power).find((m) => m >= rough);
  const ticks = [];
  for (let k = ceil(low / step - 1e-9); k * step <= high + 1e-9 * step; k++) ticks.push(k * step);
  return { ticks, digits: clamp(-floor(log10(step) + 1e-9), 0, 12) };
}
const textWidth = (text, size = 12) =>
  [...text].reduce((sum, c) => sum + (c.codePointAt(0) > 0x1100 ? 1 : 0.62), 0) * size;

// Places labels beside their points where nothing stands yet; some stay without.
function placeLabels(points, width, height, taken = []) {
  const boxes = [...taken, ...points.map((p) => [p.x - 6, p.y - 6, p.x + 6, p.y + 6])];
  return points.map((p) => {
    const w = textWidth(p.label) + 4;
    for (const [dx, dy] of p.ways ?? [[0, -14], [0, 14], [1, 0], [-1, 0], [1, -10], [-1, -10], [1, 10], [-1, 10]]) {
      const x = p.x + (dx ? dx * (9 + w / 2) : 0), y = p.y + dy;
      const box = [x - w / 2, y - 7, x + w / 2, y + 7];
      if (box[0] < 0 || box[2] > width || box[1] < 0 || box[3] > height) continue;
      if (boxes.some((b) => b[0] < box[2] && box[0] < b[2] && b[1] < box[3] && box[1] < b[3])) continue;
      boxes.push(box);
      return { x, y };
    }
    return null;
  });
}

// Lines over named or numbered steps; `at` marks a step. Ranks stand on a logarithmic axis.
function lineChart({ width, steps, series, yLabel, xLabel, at, ranks, height = 210 }) {
  const left = 52, bottom = 40, top = 20, right = 12;
  const all = series.flatMap((one) => one.values);
  let [low, high] = extent(all);
  if (ranks) [low, high] = [1, max(high, 2)];
  else if (low >= 0) [low, high] = [0, high || 1];
  const numeric = typeof steps[0] === "number";
  const [x0, x1] = numeric ? extent(steps) : [0, max(steps.length - 1, 1)];
  const xOf = (v) => left + ((v - x0) / (x1 - x0)) * (width - left - right);
  const part = (v) => (ranks ? log(max(v, 1)) / log(high) : (v - low) / (high - low));
  // Rank 1 is best, so it stands on top.
  const yOf = (v) => top + (ranks ? part(v) : 1 - part(v)) * (height - top - bottom);
  const { ticks, digits } = ranks
    ? { ticks: range(7).map((i) => 10 ** i).filter((v) => v <= high), digits: 0 }
    : niceTicks(low, high, 4);
  const room = numeric ? 0 : min(110, max(...steps.map((name) => textWidth(plain(name)) + 8)));
  const every = ceil((steps.length * room) / (width - left));
  const xTicks = numeric
    ? niceTicks(x0, x1, 6).ticks.map((v) => [v, String(+v.toFixed(6))])
    : steps.map((name, i) => [i, clip(name, 14)]).filter(([i]) => i % every === 0);
  return drawing(width, height, { class: "chart", role: "img", "aria-label": `${yLabel}; ${xLabel}` },
    ticks.map((v) => [
      s("line.rule", { x1: left, x2: width - right, y1: yOf(v), y2: yOf(v) }),
      s("text.end", { x: left - 6, y: yOf(v) + 4 }, fixed(v, digits)),
    ]),
    xTicks.map(([v, text]) =>
      s("text", { x: min(xOf(v), width - textWidth(text) / 2), y: height - bottom + 17 }, text)),
    s("text.title.start", { x: left - 44, y: 12 }, yLabel),
    s("text.title", { x: (left + width - right) / 2, y: height - 5 }, xLabel),
    at === undefined ? null : s("line.here", { x1: xOf(at), x2: xOf(at), y1: top, y2: height - bottom }),
    series.map(({ values, kind, plain: bare }) => {
      const points = [...values].map((v, i) => [numeric ? steps[i] : i, v]).filter((p) => Number.isFinite(p[1]));
      return [
        s("polyline.line", { points: points.map(([x, v]) => `${xOf(x)},${yOf(v)}`).join(" "),
          style: { stroke: `var(--c${kind % N_KINDS})`, "stroke-dasharray": DASHES[kind % N_KINDS] } }),
        bare ? null : points.map(([x, v]) => mark(kind, xOf(x), yOf(v), { "data-value": v })),
      ];
    }));
}

// ---- a matrix of tokens: pixels below, labels and frames above

// Arrows move a pair of query and key, hover previews, click or Enter locks, Escape unlocks. The
// pair lives in `now`: q, k, whether it is locked, and whether queries stand in columns.
class Matrix {
  constructor(now, show, changed) {
    const chosen = (row, column, how) => {
      if (how === "preview" && now.pair) return;
      const [q, k] = now.video ? [column, row] : [row, column];
      const again = how === "lock" && now.pair && q === now.q && k === now.k;
      Object.assign(now, { q, k, pair: !again && (now.pair || how === "lock") });
      show();
      if (how !== "preview") changed();
    };
    const unlock = () => {
      now.pair = false;
      show();
      changed();
    };
    this.now = now;
    this.canvas = h("canvas");
    this.top = s("svg");
    this.el = h("div.matrix", { tabindex: 0, role: "application", "aria-label": t("matrix") },
      this.canvas, this.top);
    this.el.addEventListener("pointermove", (event) => {
      const cell = event.pointerType === "touch" ? null : this.under(event);
      if (cell && String(cell) !== String(this.cell)) chosen(...cell, "preview");
    });
    this.el.addEventListener("click", (event) => {
      const cell = this.under(event);
      if (cell) chosen(...cell, "lock");
    });
    this.el.addEventListener("keydown", (event) => {
      const { key } = event, [row, column] = this.cell;
      const last = [this.rows.length - 1, this.columns.length - 1];
      const to = {
        ArrowLeft: [row, column - 1], ArrowRight: [row, column + 1],
        ArrowUp: [row - 1, column], ArrowDown: [row + 1, column],
        Home: [row, 0], End: [row, last[1]],
      }[key];
      if (key === "Enter" || key === " ") chosen(row, column, "lock");
      else if (key === "Escape") unlock();
      else if (to) chosen(clamp(to[0], 0, last[0]), clamp(to[1], 0, last[1]), "move");
      else return;
      event.preventDefault();
    });
  }

  under(event) {
    const box = this.canvas.getBoundingClientRect();
    const row = floor(((event.clientY - box.top) / box.height) * this.rows.length);
    const column = floor(((event.clientX - box.left) / box.width) * this.columns.length);
    return row in this.rows && column in this.columns ? [row, column] : null;
  }

  // Tokens and `value(query, key)` in its colours, within a width.
  draw({ queries, keys, value, colours, width }) {
    const sides = [queries, keys], axes = [t("query"), t("key")], { video } = this.now;
    if (video) [sides, axes].forEach((both) => both.reverse());
    const [rows, columns] = sides;
    Object.assign(this, { rows, columns });
    const labelled = (names) => min(96, 10 + max(...names.map((x) => textWidth(token(x, 12)))));
    this.left = labelled(rows) + 16;
    this.head = labelled(columns) + 16;
    this.size = clamp(floor((width - this.left - 2) / columns.length), 2, 30);
    const [w, height] = [this.size * columns.length, this.size * rows.length];
    const full = [this.left + w + 2, this.head + height + 2];
    const pixels = window.devicePixelRatio || 1;
    Object.assign(this.canvas, { width: w * pixels, height: height * pixels });
    Object.assign(this.canvas.style, { left: `${this.left}px`, top: `${this.head}px`, width: `${w}px`, height: `${height}px` });
    const pen = this.canvas.getContext("2d");
    pen.scale(pixels, pixels);
    const none = hatch(pen), gap = this.size > 8 ? 1 : 0;
    rows.forEach((_, r) => columns.forEach((_, c) => {
      const x = video ? value(c, r) : value(r, c);
      pen.fillStyle = isNaN(x) ? none : css(colours.at(x));
      const side = this.size - (isNaN(x) ? 0 : gap);
      pen.fillRect(c * this.size, r * this.size, side, side);
    }));
    this.frames = s("g");
    this.labels = s("g");
    redrawn(this.top, ...full,
      s("text.title.end", { x: this.left - 8, y: this.head - 6 }, axes[0] + " ↓"),
      s("text.title.start", { x: this.left, y: 11 }, axes[1] + " →"), this.labels, this.frames);
    Object.assign(this.el.style, { width: `${full[0]}px`, height: `${full[1]}px` });
  }

  image() {
    return { svg: this.top, canvas: this.canvas, at: [this.left, this.head] };
  }

  // Frames the pair's cell with its row and column, and writes the labels that have room.
  frame() {
    const { q, k, pair, video } = this.now, [row, column] = (this.cell = video ? [k, q] : [q, k]);
    const { left, head, size, rows, columns } = this;
    const box = (x, y, w, height, name) => s("rect", { x, y, width: w, height, class: name });
    const x = left + column * size, y = head + row * size;
    this.frames.replaceChildren(
      box(left, y, columns.length * size, size, "band"), box(x, head, size, rows.length * size, "band"),
      box(x - 1.5, y - 1.5, size + 2, size + 2, "cell under"),
      box(x - 1.5, y - 1.5, size + 2, size + 2, "cell" + (pair ? " locked" : "")));
    const every = size >= 11 ? 1 : ceil(52 / size);
    const text = (name, i, here) => (every === 1 || i === here ? token(name, 12) : i % every || abs(i - here) * size < 14 ? "" : String(i));
    this.labels.replaceChildren(
      ...rows.map((name, i) => s("text", { x: left - 6, y: head + (i + 0.5) * size + 4, class: i === row ? "end here" : "end" }, text(name, i, row))),
      ...columns.map((name, i) => s("text", { transform: `translate(${left + (i + 0.5) * size + 4},${head - 6})rotate(-90)`, class: i === column ? "start here" : "start" }, text(name, i, column))));
  }
}

// Bars about 0, one row for each term.
function signedBars(rows, largest) {
  return h("table.bars", h("tbody", rows.map(({ name, value, total }) => {
    const part = (50 * min(1, abs(value) / (largest || 1))).toFixed(2);
    return h("tr", { class: total ? "total" : "" },
      h("th", { scope: "row" }, name),
      h("td.bar-cell", h("div.axis", h("div", {
        class: value < 0 ? "negative" : "positive",
        style: { width: `${part}%`, left: `${value < 0 ? 50 - part : 50}%` },
      }))),
      h("td.number", { "data-value": value }, signed(value)));
  })));
}
