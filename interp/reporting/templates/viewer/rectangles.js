// ---- areas to scale

// Squarified treemap (Bruls, Huizing and van Wijk 2000): rows of rectangles, as square as can be.
function squarified(sizes, x, y, width, height) {
  const total = sizes.reduce((a, b) => a + b, 0), order = range(sizes.length).sort((a, b) => sizes[b] - sizes[a]);
  const out = sizes.map(() => [x, y, 0, 0]), unit = total > 0 ? (width * height) / total : 0;
  let at = 0;
  while (at < order.length && sizes[order[at]] > 0) {
    const short = min(width, height);
    const worst = (sum, low, high) => max((short * short * high) / (sum * sum), (sum * sum) / (short * short * low));
    let end = at, sum = 0, best = Infinity;
    while (end < order.length && sizes[order[end]] > 0) {
      const area = sizes[order[end]] * unit;
      const next = worst(sum + area, area, sizes[order[at]] * unit);
      if (next > best) break;
      [best, sum, end] = [next, sum + area, end + 1];
    }
    const deep = sum / short;
    let along = 0;
    for (; at < end; at++) {
      const size = (sizes[order[at]] * unit) / deep;
      out[order[at]] = width >= height ? [x, y + along, deep, size] : [x + along, y, size, deep];
      along += size;
    }
    if (width >= height) [x, width] = [x + deep, width - deep];
    else [y, height] = [y + deep, height - deep];
  }
  return out;
}

function rectangles(view) {
  const { items, unit } = view.data, n = items.name.length, models = shared(items.model);
  const sum = (indices) => indices.reduce((a, i) => a + items.count[i], 0);
  const of = (model) => range(n).filter((i) => String(items.model[i]) === model);
  const totals = models.map((model) => sum(of(model)));
  const groups = shared(items.group);
  const largest = models[totals.indexOf(max(...totals))], now = { fill: largest };
  const svg = drawing(9, 9, { class: "chart" }), note = h("p.small");
  let shown = [], places = [], lockedItem = -1;
  const picker = new Picker(svg, {
    step: towards(() => places),
    hit: (event) => +(event.target.closest?.("[data-i]")?.dataset.i ?? -1),
    changed: () => {
      lockedItem = shown[picker.locked] ?? -1;
      view.changed();
    },
    show(at) {
      const i = shown[at], total = totals[models.indexOf(String(items.model[i]))];
      view.say(says("area", phrase(items.model[i], 40), phrase(items.group[i], 40), phrase(items.name[i], 40), whole(items.count[i]), phrase(unit, 40), percent(items.count[i] / total)),
        says("shape", phrase(items.shape[i], 60), phrase(items.formula[i], 80)), picker.note());
    },
  });

  function draw() {
    const width = view.width(), gap = 18, full = min(width - 4, 420), head = 40;
    const scale = (full * full) / totals[models.indexOf(now.fill)];
    const order = range(models.length).filter((m) => totals[m] <= totals[models.indexOf(now.fill)] * 1.0001).sort((a, b) => totals[b] - totals[a]);
    const parts = [], rects = [];
    shown = [];
    places = [];
    let x = 2, y = 0, tall = 0;
    for (const m of order) {
      const side = sqrt(totals[m] * scale), room = max(side, textWidth(clip(models[m], 20), 13) + 4, 130);
      if (x > 2 && x + room > width) [x, y, tall] = [2, y + tall + gap, 0];
      parts.push(s("text.title.strong", { x, y: y + 15 }, clip(models[m], 24)), s("text.start", { x, y: y + 32 }, whole(totals[m])));
      const mine = of(models[m]), byGroup = groups.map((g) => mine.filter((i) => String(items.group[i]) === g));
      const boxes = squarified(byGroup.map(sum), x, y + head, side, side);
      byGroup.forEach((indices, g) => squarified(indices.map((i) => items.count[i]), ...boxes[g]).forEach(([left, top, w, height], k) => {
        const i = indices[k];
        if (!(w > 0 && height > 0)) return;
        const text = clip(items.name[i], 24), fits = (label, lines) => textWidth(label) + 8 < w && lines * 15 + 6 < height;
        rects.push(s("g", { role: "option", class: "area", "aria-label": `${clip(items.model[i], 40)}, ${clip(items.group[i], 40)}, ${clip(items.name[i], 40)}: ${whole(items.count[i])}` },
          s("rect", { x: left, y: top, width: w, height, "data-count": items.count[i], style: { fill: `var(--c${g % N_KINDS})` } }),
          fits(text, 1) ? s("text", { x: left + 5, y: top + 15, class: `on${g % N_KINDS}` }, text) : [],
          fits(text, 2) && fits(whole(items.count[i]), 2) ? s("text", { x: left + 5, y: top + 31, class: `on${g % N_KINDS}` }, whole(items.count[i])) : []));
        shown.push(i);
        places.push({ x: left + w / 2, y: top + height / 2 });
      }));
      x += room + gap;
      tall = max(tall, side + head);
    }
    const height = y + tall + 4;
    redrawn(svg, width, height, hidden(parts), listbox(t("areas"), rects));
    const small = order.filter((m) => totals[m] * scale < 9), large = range(models.length).filter((m) => !order.includes(m));
    note.replaceChildren(...[t("scalenote", brief(1 / scale), clip(unit, 40)),
      small.length ? " " + t("toosmall", small.map((m) => clip(models[m], 40)).join(", ")) : "",
      large.length ? " " + t("toolarge", large.map((m) => `${clip(models[m], 40)} (${sqrt(totals[m] * scale / (full * full)).toFixed(1)} ×)`).join(", ")) : ""]);
    picker.locked = shown.indexOf(lockedItem);
    picker.set(rects);
    picker.shown = -1;
  }

  const fill = models.length > 1 ? choice(t("fill"), [...models].sort((a, b) => totals[models.indexOf(b)] - totals[models.indexOf(a)]), now.fill, (model) => {
    now.fill = model;
    draw();
    picker.preview(max(picker.locked, 0));
    view.changed();
  }, (name) => clip(name, 24)) : null;
  view.root.append(h("div.controls", fill), legend(groups, 1), h("div.scroll", svg), note);
  draw();
  if (shown.length) picker.preview(0);
  view.resized = draw;
  view.image = () => ({ svg });
  return {
    params: () => ({ item: lockedItem >= 0 ? lockedItem : null, fill: now.fill === largest ? null : now.fill }),
    apply(given) {
      now.fill = models.includes(given.fill) ? given.fill : largest;
      fill?.set(now.fill);
      lockedItem = given.item === undefined ? -1 : +given.item;
      draw();
      if (shown.length) picker.lock(shown.indexOf(lockedItem), true);
    },
  };
}
