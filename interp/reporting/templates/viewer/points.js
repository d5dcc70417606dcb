// ---- words on a line and in a plane

// `lay()` says where the words stand and what is behind them, `about(i)` what is said of one.
function pointPlot(view, order, { label, step, lay, about, first }) {
  const { word: words, group } = view.data.points, groups = shared(group), svg = drawing(9, 9, { class: "chart" });
  let points = [];
  const picker = new Picker(svg, {
    step: (i, way) => step(points, i, way), hit: nearest(svg, () => points), changed: view.changed,
    show(at) {
      const i = order[at], chosen = (el, on) => el.classList.toggle("here", on);
      svg.querySelectorAll("text.label").forEach((el) => {
        chosen(el, +el.dataset.of === at);
        if (+el.dataset.of === at) el.parentNode.append(el);
      });
      svg.querySelectorAll(".arrow").forEach((el) => chosen(el, el.dataset.ends.split(" ").includes(String(i))));
      view.say(says("wordof", word(words[i], 40), phrase(group[i], 40)), ...about(i, at), picker.note());
    },
  });

  function draw() {
    const { width, height, base, behind, place, ways, lines = [] } = lay();
    points = order.map((i) => ({ ...place(i), ways, kind: groups.indexOf(String(group[i])), label: token(words[i], 16) }));
    const items = points.map(({ x, y, kind }, at) => {
      const i = order[at], name = [token(words[i]), clip(group[i], 40), ...about(i, at)].join(", ");
      return s("g.point", { role: "option", "aria-label": name }, s("circle.ring", { cx: x, cy: y, r: 12 }), mark(kind, x, y));
    });
    const labels = placeLabels(points, width, base, lines).map((at, i) =>
      s(at ? "text.label" : "text.label.spare", { x: (at ?? points[i]).x, y: at ? at.y + 4 : points[i].y - 14, "data-of": i }, points[i].label));
    redrawn(svg, width, height, hidden(behind), listbox(label, items), hidden(labels));
    picker.set(items);
    if (order.length) picker.preview(picker.shown ?? first);
  }

  view.root.append(legend(groups), h("div.scroll", svg));
  draw();
  view.resized = draw;
  view.image = () => ({ svg });
  return {
    params: () => ({ word: picker.locked >= 0 ? order[picker.locked] : null }),
    apply: ({ word: i }) => picker.lock(i === undefined ? -1 : order.indexOf(+i), true),
  };
}

function numberLine(view) {
  const { null_low: low, null_high: high, axis, points: { word: words, value: values, group } } = view.data;
  const groups = shared(group), isNull = low !== null && high !== null;
  const order = range(words.length).filter((i) => values[i] !== null).sort((a, b) => values[a] - values[b]);

  function lay() {
    const width = view.width(), lane = 84, top = isNull ? 30 : 12, left = 16;
    const base = top + lane * groups.length + 2, height = base + 46;
    let [a, b] = extent([...values, low, high]);
    [a, b] = [a - (b - a || 1) * 0.06, b + (b - a || 1) * 0.06];
    const xOf = (v) => left + ((v - a) / (b - a)) * (width - 2 * left), yOf = (g) => top + lane * (g + 0.5);
    const { ticks, digits } = niceTicks(a, b, clamp(width / 85, 4, 9));
    const line = (name, x1, y1, x2, y2) => s("line." + name, { x1, y1, x2, y2 });
    return {
      width, height, base, ways: [[0, -16], [0, 17], [0, -31], [0, 32], [1, 0], [-1, 0]],
      place: (i) => ({ x: xOf(values[i]), y: yOf(groups.indexOf(String(group[i]))) }),
      behind: [
        isNull ? [s("rect.null-band", { x: xOf(low), y: top, width: max(1, xOf(high) - xOf(low)), height: base - top }),
          s("text", { x: clamp((xOf(low) + xOf(high)) / 2, 50, width - 50), y: top - 8 }, t("nullband"))] : [],
        groups.map((_, g) => line("rule", left, yOf(g), width - left, yOf(g))),
        a < 0 && b > 0 ? line("zero", xOf(0), top, xOf(0), base) : [],
        line("axis", left, base, width - left, base),
        ticks.map((v) => [line("axis", xOf(v), base, xOf(v), base + 5),
          s("text", { x: xOf(v), y: base + 19 }, signed(v, (x) => fixed(x, digits)))]),
        s("text.title", { x: width / 2, y: height - 5 }, clip(axis, floor(width / 8))),
      ],
    };
  }

  const made = pointPlot(view, order, {
    label: t("line"), lay, first: order.length - 1,
    step: (points, i, way) => /t$/.test(way) ? alongList(() => order.length)(i, way) : towards(() => points)(i, way),
    about: (i, at) => [signed(values[i]), t("fromleft", at + 1, order.length),
      isNull ? t(values[i] < low ? "belownull" : values[i] > high ? "abovenull" : "innull") : ""].filter(Boolean),
  });
  if (isNull) view.root.append(h("p.small", t("bandends", signed(low), signed(high))));
  return made;
}

function plane(view) {
  const { axes, arrows: pairs, points: { word: words, x: xs, y: ys } } = view.data;
  const order = range(words.length).filter((i) => xs[i] !== null && ys[i] !== null);
  const arrows = pairs.map((pair) => pair.map((name) => words.indexOf(name)));

  function lay() {
    const width = min(view.width(), 720), left = 56, bottom = 46, edge = 14, room = width - left - edge;
    const [xa, xb] = extent(order.map((i) => xs[i])), [ya, yb] = extent(order.map((i) => ys[i]));
    // The same scale both ways, or angles would lie.
    const span = max(xb - xa, 1e-9), rise = max(yb - ya, 1e-9);
    const height = clamp((rise / span) * room + 120, 300, max(320, min(width, 560))), base = height - bottom, deep = base - edge;
    const unit = min((room - 90) / span, (deep - 60) / rise), xm = (xa + xb) / 2, ym = (ya + yb) / 2;
    const xOf = (v) => left + room / 2 + (v - xm) * unit, yOf = (v) => edge + deep / 2 - (v - ym) * unit;
    const ticksOf = (pixels, centre) => niceTicks(centre - pixels / 2 / unit, centre + pixels / 2 / unit, clamp(pixels / 90, 3, 7));
    const across = ticksOf(room, xm), up = ticksOf(deep, ym);
    const place = (i) => ({ x: xOf(xs[i]), y: yOf(ys[i]) });
    const lines = [];
    const arrow = (ends) => {
      const [a, b] = ends.map(place), length = hypot(b.x - a.x, b.y - a.y) || 1;
      const [ux, uy] = [(b.x - a.x) / length, (b.y - a.y) / length], at = (along, aside) => `${a.x + along * ux - aside * uy},${a.y + along * uy + aside * ux}`;
      // Labels keep off the arrow.
      for (let d = 14; d < length - 6; d += 6) lines.push([a.x + d * ux - 2, a.y + d * uy - 2, a.x + d * ux + 2, a.y + d * uy + 2]);
      return s("path.arrow", { "data-ends": ends.join(" "),
        d: `M${at(8, 0)}L${at(length - 9, 0)}M${at(length - 18, 5)}L${at(length - 9, 0)}L${at(length - 18, -5)}` });
    };
    return {
      width, height, base, place, lines,
      behind: [
        across.ticks.map((v) => [s("line.rule", { x1: xOf(v), x2: xOf(v), y1: edge, y2: base }),
          s("text", { x: xOf(v), y: base + 17 }, signed(v, (x) => fixed(x, across.digits)))]),
        up.ticks.map((v) => [s("line.rule", { x1: left, x2: width - edge, y1: yOf(v), y2: yOf(v) }),
          s("text.end", { x: left - 6, y: yOf(v) + 4 }, signed(v, (x) => fixed(x, up.digits)))]),
        s("text.title", { x: left + room / 2, y: height - 6 }, clip(axes[0], floor(room / 8))),
        s("text.title", { transform: `translate(12,${edge + deep / 2})rotate(-90)` }, clip(axes[1], floor(deep / 8))),
        arrows.map(arrow),
      ],
    };
  }

  const made = pointPlot(view, order, {
    label: t("plane"), lay, first: 0, step: (points, i, way) => towards(() => points)(i, way),
    about: (i) => [`x ${signed(xs[i])}`, `y ${signed(ys[i])}`],
  });
  if (arrows.length) view.root.append(h("div.scroll", h("table.plain", h("caption", t("arrows")),
    header([t("from1"), t("to1")], ["Δx", "Δy", t("length"), t("angle")]),
    h("tbody", arrows.map(([from, to]) => {
      const dx = xs[to] - xs[from], dy = ys[to] - ys[from];
      return h("tr", h("th", { scope: "row" }, word(words[from], 24)), h("td", word(words[to], 24)),
        [signed(dx), signed(dy), brief(hypot(dx, dy)), fixed((Math.atan2(dy, dx) * 180) / Math.PI, 1) + "°"].map((x) => h("td.number", x)));
    })))));
  view.root.append(h("p.small", t("flat")));
  return made;
}
