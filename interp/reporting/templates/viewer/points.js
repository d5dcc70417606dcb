// ---- words on a line and in a plane

// Points as options of a list, drawn as marks with labels where there is room.
function plotted(view, svg, options) {
  const picker = new Picker(svg, options);
  svg.setAttribute("role", "listbox");
  svg.setAttribute("aria-label", options.label);
  return picker;
}
const option = (label, ...children) => s("g", { role: "option", class: "point", "aria-label": label }, children);
const dot = ({ x, y, kind }) => [s("circle", { cx: x, cy: y, r: 12, class: "ring" }), mark(kind, x, y)];
const drawLabels = (points, places) => points.map((p, i) =>
  places[i] ? s("text", { x: places[i].x, y: places[i].y + 4, "text-anchor": "middle", class: "label", "data-of": i }, p.label) : null);
const shared = (names) => [...new Set(names)];

function numberLine(view) {
  const { data } = view, { null_low: low, null_high: high } = data;
  const { word: words, value: values, group } = data.points;
  const groups = shared(group.map(String)), order = range(words.length)
    .filter((i) => values[i] !== null).sort((a, b) => values[a] - values[b]);
  const rank = new Map(order.map((i, at) => [i, at])), isNull = low !== null && high !== null;
  const svg = drawing(10, 10, { class: "chart" });
  let points = [];
  const picker = plotted(view, svg, {
    label: t("line"), step: (i, way) => way === "Left" || way === "Right" ? alongList(() => order.length)(i, way) : towards(() => points)(i, way),
    hit: nearest(svg, () => points), changed: view.changed,
    show(at) {
      const i = order[at], x = values[i];
      svg.querySelectorAll("text.label").forEach((el) => el.classList.toggle("here", +el.dataset.of === at));
      const side = !isNull ? "" : t(x < low ? "belownull" : x > high ? "abovenull" : "innull");
      view.say(says("onLine", word(words[i], 40), phrase(group[i], 40), signed(x), at + 1, order.length), side, picker.locked >= 0 ? says("lockedcell") : "");
    },
  });

  function draw() {
    const width = view.width(), lane = 74, top = isNull ? 30 : 12, left = 16;
    const height = top + lane * groups.length + 48, base = height - 46;
    let [a, b] = extent([...values, low, high]);
    [a, b] = [a - (b - a || 1) * 0.06, b + (b - a || 1) * 0.06];
    const xOf = (v) => left + ((v - a) / (b - a)) * (width - 2 * left);
    points = order.map((i) => ({
      x: xOf(values[i]), y: top + lane * (groups.indexOf(String(group[i])) + 0.5), kind: groups.indexOf(String(group[i])), label: token(words[i], 16),
      ways: [[0, -16], [0, 17], [0, -29], [0, 30], [1, 0], [-1, 0]],
    }));
    const { ticks, digits } = niceTicks(a, b, clamp(width / 110, 3, 9));
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    svg.setAttribute("width", width);
    svg.setAttribute("height", height);
    const items = points.map((p, at) => option(`${token(words[order[at]])}, ${clip(group[order[at]], 40)}, ${signed(values[order[at]])}`, dot(p)));
    svg.replaceChildren(s("g", { "aria-hidden": true },
      isNull ? [s("rect", { class: "null-band", x: xOf(low), y: top, width: Math.max(1, xOf(high) - xOf(low)), height: base - top }),
        s("text", { x: clamp((xOf(low) + xOf(high)) / 2, 50, width - 50), y: top - 8, "text-anchor": "middle" }, t("nullband"))] : [],
      groups.map((_, g) => s("line", { class: "rule", x1: left, x2: width - left, y1: top + lane * (g + 0.5), y2: top + lane * (g + 0.5) })),
      a < 0 && b > 0 ? s("line", { class: "zero", x1: xOf(0), x2: xOf(0), y1: top, y2: base }) : [],
      s("line", { class: "axis", x1: left, x2: width - left, y1: base, y2: base }),
      ticks.map((v) => [s("line", { class: "axis", x1: xOf(v), x2: xOf(v), y1: base, y2: base + 5 }),
        s("text", { x: xOf(v), y: base + 19, "text-anchor": "middle" }, signed(v, (x) => fixed(x, digits)))]),
      s("text", { x: width / 2, y: height - 5, "text-anchor": "middle", class: "title" }, clip(data.axis, Math.floor(width / 8)))),
      ...items, s("g", { "aria-hidden": true }, drawLabels(points, placeLabels(points, width, base))));
    picker.set(items);
    if (picker.shown >= 0) picker.preview(picker.shown);
  }

  const scroll = h("div", { class: "scroll" }, svg);
  view.root.append(legend(groups), scroll, isNull ? h("p", { class: "small" }, t("bandends", signed(low), signed(high))) : "");
  draw();
  picker.preview(Math.max(order.length - 1, 0));
  view.resized = draw;
  view.image = () => ({ svg });
  return {
    params: () => ({ word: picker.locked >= 0 ? order[picker.locked] : null }),
    apply: ({ word: i }) => picker.lock(rank.get(+(i ?? NaN)) ?? -1, true),
  };
}

function plane(view) {
  const { data } = view, { word: words, x: xs, y: ys, group } = data.points;
  const there = range(words.length).filter((i) => xs[i] !== null && ys[i] !== null);
  const groups = shared(group.map(String)), svg = drawing(10, 10, { class: "chart" });
  const arrows = data.arrows.map((pair) => pair.map((name) => words.indexOf(name)));
  let points = [];
  const picker = plotted(view, svg, {
    label: t("plane"), step: towards(() => points), hit: nearest(svg, () => points), changed: view.changed,
    show(at) {
      const i = there[at];
      svg.querySelectorAll("text.label").forEach((el) => el.classList.toggle("here", +el.dataset.of === at));
      svg.querySelectorAll("path.arrow").forEach((el, k) => el.classList.toggle("here", arrows[k].includes(i)));
      view.say(says("inPlane", word(words[i], 40), phrase(group[i], 40), signed(xs[i]), signed(ys[i])), picker.locked >= 0 ? says("lockedcell") : "");
    },
  });

  function draw() {
    const width = Math.min(view.width(), 720), left = 56, bottom = 46, edge = 14;
    const [xa, xb] = extent(there.map((i) => xs[i])), [ya, yb] = extent(there.map((i) => ys[i]));
    // The same scale both ways, or angles would lie.
    const span = Math.max(xb - xa, 1e-9), rise = Math.max(yb - ya, 1e-9);
    const room = width - left - edge, height = clamp((rise / span) * room + 120, 300, Math.max(320, Math.min(width, 560)));
    const unit = Math.min((room - 90) / span, (height - bottom - edge - 60) / rise);
    const xOf = (v) => left + room / 2 + (v - (xa + xb) / 2) * unit;
    const yOf = (v) => edge + (height - bottom - edge) / 2 - (v - (ya + yb) / 2) * unit;
    points = there.map((i) => ({ x: xOf(xs[i]), y: yOf(ys[i]), kind: groups.indexOf(String(group[i])), label: token(words[i], 16) }));
    const axis = (pixels, centre) => niceTicks(centre - pixels / 2 / unit, centre + pixels / 2 / unit, clamp(pixels / 90, 3, 7));
    const across = axis(room, (xa + xb) / 2), up = axis(height - bottom - edge, (ya + yb) / 2), base = height - bottom;
    const items = points.map((p, at) => option(`${token(words[there[at]])}, ${clip(group[there[at]], 40)}, ${signed(xs[there[at]])}, ${signed(ys[there[at]])}`, dot(p)));
    const tip = ([from, to]) => {
      const [x1, y1, x2, y2] = [xOf(xs[from]), yOf(ys[from]), xOf(xs[to]), yOf(ys[to])];
      const length = Math.hypot(x2 - x1, y2 - y1) || 1, ux = (x2 - x1) / length, uy = (y2 - y1) / length;
      const [ex, ey] = [x2 - 9 * ux, y2 - 9 * uy];
      return s("path", { class: "arrow", d: `M${x1 + 8 * ux},${y1 + 8 * uy}L${ex},${ey}M${ex - 9 * ux + 5 * uy},${ey - 9 * uy - 5 * ux}L${ex},${ey}L${ex - 9 * ux - 5 * uy},${ey - 9 * uy + 5 * ux}` });
    };
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    svg.setAttribute("width", width);
    svg.setAttribute("height", height);
    svg.replaceChildren(s("g", { "aria-hidden": true },
      across.ticks.map((v) => [s("line", { class: "rule", x1: xOf(v), x2: xOf(v), y1: edge, y2: base }),
        s("text", { x: xOf(v), y: base + 17, "text-anchor": "middle" }, signed(v, (x) => fixed(x, across.digits)))]),
      up.ticks.map((v) => [s("line", { class: "rule", x1: left, x2: width - edge, y1: yOf(v), y2: yOf(v) }),
        s("text", { x: left - 6, y: yOf(v) + 4, "text-anchor": "end" }, signed(v, (x) => fixed(x, up.digits)))]),
      s("text", { x: left + room / 2, y: height - 6, "text-anchor": "middle", class: "title" }, clip(data.axes[0], Math.floor(room / 8))),
      s("text", { transform: `translate(12,${edge + (base - edge) / 2})rotate(-90)`, "text-anchor": "middle", class: "title" }, clip(data.axes[1], Math.floor((base - edge) / 8))),
      arrows.map(tip)), ...items,
      s("g", { "aria-hidden": true }, drawLabels(points, placeLabels(points, width, base))));
    picker.set(items);
    if (picker.shown >= 0) picker.preview(picker.shown);
  }

  const column = (text, numeric) => h("th", { scope: "col", class: numeric ? "number" : "" }, text);
  const list = arrows.length ? h("table", { class: "plain" }, h("caption", null, t("arrows")),
    h("thead", null, h("tr", null, column(t("from1")), column(t("to1")), column("Δx", 1), column("Δy", 1), column(t("length"), 1), column(t("angle"), 1))),
    h("tbody", null, arrows.map(([from, to]) => {
      const dx = xs[to] - xs[from], dy = ys[to] - ys[from];
      return h("tr", null, h("th", { scope: "row" }, word(words[from], 24)), h("td", null, word(words[to], 24)),
        [signed(dx), signed(dy), brief(Math.hypot(dx, dy)), `${fixed((Math.atan2(dy, dx) * 180) / Math.PI, 1)}°`].map((x) => h("td", { class: "number" }, x)));
    }))) : null;
  view.root.append(legend(groups), h("div", { class: "scroll" }, svg), list ? h("div", { class: "scroll" }, list) : "", h("p", { class: "small" }, t("flat")));
  draw();
  picker.preview(0);
  view.resized = draw;
  view.image = () => ({ svg });
  return {
    params: () => ({ word: picker.locked >= 0 ? there[picker.locked] : null }),
    apply: ({ word: i }) => picker.lock(i === undefined ? -1 : there.indexOf(+i), true),
  };
}
