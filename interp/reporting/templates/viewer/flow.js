// ---- a graph whose weak edges a threshold hides

const SHOWN_EDGES = 12;

function flow(view) {
  const { nodes, edges, unit } = view.data, n = nodes.name.length;
  const index = new Map(nodes.name.map((name, i) => [name, i]));
  const all = range(edges.weight.length).filter((e) => edges.weight[e] !== null)
    .map((e) => ({ from: index.get(edges.source[e]), to: index.get(edges.target[e]), weight: edges.weight[e] }))
    .sort((a, b) => abs(b.weight) - abs(a.weight));
  const largest = abs(all[0]?.weight ?? 1) || 1, step = 10 ** floor(log10(largest / 20));
  const first = floor(abs(all[min(all.length - 1, 24)]?.weight ?? 0) / step) * step;
  const start = +first.toFixed(6), now = { low: start };
  const svg = drawing(9, 9, { class: "chart" }), table = h("table.plain"), count = h("p.small");
  const order = range(n).sort((a, b) => nodes.layer[b] - nodes.layer[a] || nodes.place[a] - nodes.place[b]);
  const strong = () => all.filter((e) => abs(e.weight) >= now.low - 1e-12);
  let places = [], lines = [];
  const picker = new Picker(svg, {
    step: towards(() => places), hit: nearest(svg, () => places, 34),
    changed: () => {
      list();
      view.changed();
    },
    show(at) {
      const i = order[at], mine = strong().filter((e) => e.from === i || e.to === i);
      const part = (name, own) => (own.length ? says(name, own.length, word(nodes.name[own[0].from === i ? own[0].to : own[0].from], 24), signed(own[0].weight)) : says(name + "0"));
      lines.forEach(({ edge, el }) => el.classList.toggle("faint", edge.from !== i && edge.to !== i && mine.length > 0));
      list();
      view.say([word(nodes.name[i], 24)], part("into", mine.filter((e) => e.to === i)), part("outof", mine.filter((e) => e.from === i)), picker.note());
    },
  });

  function list() {
    const i = picker.locked >= 0 ? order[picker.locked] : -1;
    const mine = strong().filter((e) => i < 0 || e.from === i || e.to === i);
    table.replaceChildren(
      h("caption", i < 0 ? t("edges", min(mine.length, SHOWN_EDGES), mine.length) : says("edgesof", word(nodes.name[i], 24), min(mine.length, SHOWN_EDGES), mine.length)),
      header([t("from1"), t("to1")], [phrase(unit, 40)]),
      h("tbody", mine.slice(0, SHOWN_EDGES).map((e) => h("tr", h("th", { scope: "row" }, word(nodes.name[e.from], 24)), h("td", word(nodes.name[e.to], 24)),
        h("td.number", { "data-value": e.weight }, signed(e.weight))))));
  }

  function draw() {
    const levels = [...new Set(nodes.layer)].sort((a, b) => a - b), spots = extent(nodes.place);
    const columns = spots[1] - spots[0] + 1, width = max(view.width() > 760 ? view.width() * 0.62 : view.width() - 8, columns * 46);
    const pitch = width / columns, rise = clamp(520 / levels.length, 46, 84), height = levels.length * rise + 8;
    const at = range(n).map((i) => ({ x: (nodes.place[i] - spots[0] + 0.5) * pitch, y: height - 4 - (levels.indexOf(nodes.layer[i]) + 0.5) * rise }));
    const wide = min(pitch - 4, 96), high = 24;
    lines = strong().reverse().map((edge) => {
      const [a, b] = [at[edge.from], at[edge.to]], up = sign(b.y - a.y) || -1, size = abs(edge.weight) / largest;
      const [y1, y2] = [a.y + (up * high) / 2, b.y - (up * high) / 2], bend = max(14, abs(y2 - y1) / 2) * up;
      return { edge, el: s("path", { class: edge.weight < 0 ? "edge negative" : "edge positive", "data-weight": edge.weight,
        d: `M${a.x},${y1}C${a.x},${y1 + bend} ${b.x},${y2 - bend} ${b.x},${y2}`, style: { "stroke-width": (0.8 + 6 * size).toFixed(2), "stroke-opacity": (0.35 + 0.65 * size).toFixed(2) } }) };
    });
    places = order.map((i) => at[i]);
    const items = order.map((i) => s("g", { role: "option", class: "node", "aria-label": token(nodes.name[i]) },
      s("rect", { x: at[i].x - wide / 2, y: at[i].y - high / 2, width: wide, height: high, rx: 5 }),
      s("text", { x: at[i].x, y: at[i].y + 4 }, token(nodes.name[i], max(3, floor(wide / 6.9))))));
    redrawn(svg, width, height, hidden(lines.map(({ el }) => el)), listbox(t("graph"), items));
    picker.set(items);
    const used = new Set(strong().flatMap((e) => [e.from, e.to]));
    items.forEach((el, k) => el.classList.toggle("alone", !used.has(order[k])));
    count.textContent = t("shownedges", strong().length, all.length, brief(now.low), clip(unit, 60));
    list();
  }

  const low = slider(t("threshold"), { low: 0, high: +largest.toFixed(6), step, value: start, digits: 6 }, (x) => {
    now.low = x;
    draw();
    picker.preview(picker.shown);
    view.changed();
  });
  const key = h("ul.legend", ["positive", "negative"].map((sign) => h("li", drawing(34, 16, { "aria-hidden": true }, s("path", { class: "edge " + sign, d: "M2,8H32", style: { "stroke-width": 3 } })), t(sign))));
  view.root.append(h("div.controls.sliders", low), key, count,
    h("div.columns", h("div.scroll", svg), h("div.side.scroll", table)));
  draw();
  picker.preview(max(0, order.indexOf(all[0]?.to)));
  lines.forEach(({ el }) => el.classList.remove("faint"));
  view.resized = draw;
  view.image = () => ({ svg });
  return {
    params: () => ({ node: picker.locked >= 0 ? order[picker.locked] : null, low: now.low === start ? null : now.low }),
    apply(given) {
      now.low = Number.isFinite(+(given.low ?? NaN)) ? +given.low : start;
      low.set(now.low);
      now.low = low.value;
      draw();
      picker.lock(given.node === undefined ? -1 : order.indexOf(+given.node), true);
    },
  };
}
