// ---- tables of coloured cells: what a lens reads off, what patching restores

function cellTable({ label, rows, columns, corner, text, view, chosen, columnText = word }) {
  const cells = rows.map((_, r) => columns.map((_, c) => h("td", { role: "gridcell" }, text(r, c))));
  const heads = columns.map((name) => h("th", { scope: "col", role: "columnheader" }, columnText(name)));
  const names = rows.map((name) => h("th", { scope: "row", role: "rowheader" }, word(name, 40)));
  const el = h("table.cells", { role: "grid", "aria-label": label },
    h("thead", h("tr", { role: "row" }, h("th", { scope: "col", role: "columnheader" }, corner), heads)),
    h("tbody", cells.map((row, r) => h("tr", { role: "row" }, names[r], row))));
  const show = (i) => {
    const r = floor(i / columns.length), c = i % columns.length;
    names.forEach((one, k) => one.classList.toggle("here", k === r));
    heads.forEach((one, k) => one.classList.toggle("here", k === c));
    chosen(r, c, picker.locked >= 0);
  };
  const picker = new Picker(el, { step: inRows(() => rows.map(() => columns.length)), show, changed: view.changed });
  picker.set(cells.flat());
  const paintAll = (value, colours) =>
    cells.forEach((row, r) => row.forEach((cell, c) => {
      paint(cell, value(r, c), colours);
      cell.dataset.value = value(r, c);
    }));
  const params = () => ({
    cell: picker.locked >= 0 ? `${floor(picker.locked / columns.length)}.${picker.locked % columns.length}` : null,
  });
  const apply = ({ cell = "" }) => {
    const [r, c] = cell.split(".").map(Number);
    picker.lock(r in rows && c in columns ? r * columns.length + c : -1, true);
  };
  return { el, picker, paintAll, params, apply };
}

function lens(view) {
  const { data, arrays } = view, { tokens, layers, values, pinned } = data, n = tokens.length;
  const now = { value: values[0], of: -1, measure: "" };
  // The first few are pinned unless the address says otherwise.
  const first = range(min(pinned.length, 4)).join(".");
  const pin = (list) => (now.pins = new Set(list.split(".").filter(Boolean).map(Number).filter((i) => i in pinned)));
  const pinnedNow = () => [...now.pins].sort((a, b) => a - b).join(".");
  pin(first);
  const number = (name, r, c) => arrays[name].values[r * n + c];
  const isSigned = (name) => extent(arrays[name].values)[0] < 0;
  const measures = [...new Set(pinned.flatMap(([, names]) => names))];
  now.measure = measures[0];
  const table = cellTable({
    label: t("lenstable"), rows: layers, columns: range(n), view, corner: t("lenscorner"),
    columnText: (c) => [h("span.index", c), word(tokens[c], 12)],
    text: (r, c) => word(data.top_tokens[r][c], 10),
    chosen: showCell,
  });
  const bar = h("div"), chart = h("div.chart-box");

  function colour() {
    const name = now.of >= 0 ? `${now.value} of ${pinned[now.of][0]}` : now.value;
    const [low, high] = /probability/.test(now.value) ? [0, 1] : extent(arrays[name].values);
    const colours = colouring(isSigned(name), min(low, 0), high);
    table.paintAll((r, c) => number(name, r, c), colours);
    bar.replaceChildren(colourBar(colours, known(now.value) + (now.of >= 0 ? ` · ${token(pinned[now.of][0], 24)}` : ""), {
      masked: arrays[name].values.some(isNaN) ? t("novalue") : "",
    }));
  }

  function showCell(r, c, locked) {
    now.cell = [r, c];
    const numbers = values.map((name) => `${known(name)} ${brief(number(name, r, c))}`).join(", ");
    view.say(says("lenscell", phrase(layers[r]), word(tokens[c], 24), c, word(data.top_tokens[r][c], 24)), numbers,
      table.picker.note());
    draw();
  }

  function draw() {
    const [r, c] = now.cell, wide = view.width() > 760 ? min(620, view.width() - 230) : view.width();
    const down = (name) => layers.map((_, row) => number(name, row, c));
    const lines = pinned.map(([one, names], i) => ({ one, names, i })).filter(({ names, i }) => now.pins.has(i) && names.includes(now.measure));
    const series = measures.length
      ? lines.map(({ one, i }) => ({ values: down(`${now.measure} of ${one}`), kind: i }))
      : [{ values: down(now.value), kind: 0 }];
    const measure = measures.length ? now.measure : now.value;
    chart.replaceChildren(
      h("p.part-title", says("trajectory", known(measure), word(tokens[c], 24), c)),
      series.length ? lineChart({ width: wide, steps: layers, series, at: r, yLabel: known(measure), xLabel: t("layer"), ranks: measure === "rank" })
        : h("p.small", t("nopins")));
    pins.forEach((el, i) => {
      const [one, names] = pinned[i];
      el.lastChild.textContent = names.map((name) =>
        known(name) + " " + (name === "rank" ? whole : brief)(number(`${name} of ${one}`, r, c))).join(", ");
    });
  }

  const pins = pinned.map(([one], i) => h("li", h("label", h("input", { type: "checkbox", checked: now.pins.has(i), change: ({ target }) => {
      now.pins[target.checked ? "add" : "delete"](i);
      draw();
      view.changed();
    } }), drawing(16, 16, { "aria-hidden": true }, mark(i, 8, 8)), word(one, 24)), h("span.small")));
  const by = choice(t("colour"), values, now.value, (name) => {
    Object.assign(now, { value: name, of: -1 });
    colour();
    view.changed();
  });
  const measure = measures.length > 1 ? choice(t("chart"), measures, now.measure, (name) => {
    now.measure = name;
    draw();
    view.changed();
  }) : null;
  view.root.append(h("div.controls", by), h("div.scroll", table.el), bar,
    h("div.columns", chart, pinned.length ? h("div.side", measure, h("p.part-title", t("pins")), h("ul.pins", pins)) : null));
  colour();
  table.picker.cursor = layers.length * n - 1;
  table.picker.set(table.picker.els);
  table.picker.preview(layers.length * n - 1);
  view.resized = draw;
  view.image = () => ({ svg: chart.querySelector("svg") });
  return {
    params: () => ({
      ...table.params(), colour: now.value === values[0] ? null : now.value,
      chart: now.measure === measures[0] ? null : now.measure,
      pins: pinnedNow() === first ? null : pinnedNow(),
    }),
    apply(given) {
      now.value = values.includes(given.colour) ? given.colour : values[0];
      now.measure = measures.includes(given.chart) ? given.chart : measures[0];
      pin(given.pins ?? first);
      pins.forEach((el, i) => (el.querySelector("input").checked = now.pins.has(i)));
      by.set(now.value);
      measure?.set(now.measure);
      colour();
      table.apply(given);
    },
  };
}

function grid(view) {
  const { data, arrays } = view, { rows, columns, ends, unit } = data, n = columns.length;
  const values = arrays.values.values, all = extent([...values, ...Object.values(ends)]);
  const colours = colouring(true, ...all), roomy = n <= 16;
  // "layer 3" rather than "layer layer 3".
  const named = (axis, name) => [name.startsWith(data.axes[axis]) ? "" : clip(data.axes[axis], 20) + " ", word(name, 40)];
  const table = cellTable({
    label: t("gridtable"), rows, columns, view,
    corner: h("span", phrase(data.axes[0], 20), " ↓ ", phrase(data.axes[1], 20), " →"),
    text: (r, c) => (roomy ? signed(values[r * n + c], (x) => fixed(x, 2)) : ""),
    chosen(r, c, locked) {
      const x = values[r * n + c];
      view.say(says("gridcell", named(0, rows[r]), named(1, columns[c]),
        isNaN(x) ? t("novalue") : signed(x), phrase(unit)), table.picker.note());
    },
  });
  table.el.classList.toggle("dense", !roomy);
  table.paintAll((r, c) => values[r * n + c], colours);
  view.root.append(h("div.scroll", table.el),
    colourBar(colours, unit, { marks: ends, masked: values.some(isNaN) ? t("novalue") : "" }));
  const largest = values.reduce((best, x, i) => (abs(x) > abs(values[best]) ? i : best), 0);
  table.picker.cursor = largest;
  table.picker.set(table.picker.els);
  table.picker.preview(largest);
  return { params: table.params, apply: table.apply };
}
