// ---- why a head attends: a score as the sum of its sources

const SHOWN_TERMS = 14;

function scoreTerms(view) {
  const { data, arrays } = view, { query_tokens: queries, key_tokens: keys, sources } = data;
  const total = arrays.total.values, terms = arrays.terms.values, size = queries.length * keys.length;
  const now = { q: queries.length - 1, k: 0, pair: false, video: false };
  const colours = colouring(true, ...extent(total));
  const at = (q, k) => q * keys.length + k;
  const bars = h("div.side");
  const matrix = new Matrix(now, () => showPair(), view.changed);

  function draw() {
    matrix.draw({ queries, keys, colours, value: (q, k) => total[at(q, k)], width: view.width() > 760 ? min(540, view.width() * 0.56) : view.width() });
    showPair();
  }

  function showPair() {
    const { q, k } = now, sum = total[at(q, k)];
    matrix.frame();
    const all = sources.map((name, i) => ({ name: phrase(name, 32), value: terms[i * size + at(q, k)] }));
    const bySize = [...all].sort((a, b) => abs(b.value) - abs(a.value));
    const rest = bySize.slice(SHOWN_TERMS);
    const rows = bySize.slice(0, SHOWN_TERMS);
    if (rest.length)
      rows.push({ name: t("others", rest.length), value: rest.reduce((a, row) => a + row.value, 0) });
    rows.push({ name: t("sum"), value: sum, total: true });
    const heading = h("p.part-title", says("whyscore", word(queries[q], 24), q, word(keys[k], 24), k));
    bars.replaceChildren(heading, isNaN(sum) ? h("p", t("noscore"))
      : signedBars(rows, max(...rows.map((row) => abs(row.value)))));
    view.say(says("scoreof", word(queries[q], 24), q, word(keys[k], 24), k,
      isNaN(sum) ? t("masked") : signed(sum)),
      isNaN(sum) ? "" : says("largestterm", phrase(sources[all.indexOf(bySize[0])], 32), signed(bySize[0].value)),
      now.pair ? says("lockedpair") : "");
  }

  const video = toggle(t("video"), false, (x) => {
    now.video = x;
    draw();
    view.changed();
  });
  view.root.append(h("div.controls", h("span.part-title", phrase(data.title)), video),
    h("div.columns", h("div.scroll", matrix.el), bars),
    colourBar(colours, t("score"), { masked: total.some(isNaN) ? t("maskedlegend") : "" }));
  const best = (q) => range(keys.length).reduce((a, k) => (total[at(q, k)] > total[at(q, a)] || isNaN(total[at(q, a)]) ? k : a), 0);
  now.k = best(now.q);
  draw();
  view.resized = draw;
  view.image = () => matrix.image();
  return {
    params: () => ({ pair: now.pair ? `${now.q}.${now.k}` : null, video: now.video ? 1 : null }),
    apply(given) {
      const [q, k] = (given.pair ?? "").split(".").map(Number);
      now.pair = q in queries && k in keys;
      if (now.pair) Object.assign(now, { q, k });
      now.video = !!given.video;
      video.set(now.video);
      draw();
    },
  };
}
