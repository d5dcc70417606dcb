// ---- temperature, top-k and top-p on real logits

const SHOWN_TOKENS = 15;

// Logits in falling order to what may be drawn: divided by T, cut to the k best, then to the
// fewest whose probability reaches p. T = 0 is the limit: all to the largest logit.
function sampled(logits, T, k, p) {
  const n = logits.length, best = logits[0];
  const weights = Array.from(logits, (x) => (T > 0 ? exp((x - best) / T) : +(x === best)));
  const kept = k > 0 ? min(k, n) : n;
  let all = 0;
  for (let i = kept - 1; i >= 0; i--) all += weights[i];
  let last = kept;
  if (p < 1) {
    let before = 0;
    for (last = 0; last < kept && (last === 0 || before < p - 1e-9); last++) before += weights[last] / all;
  }
  let mass = 0, entropy = 0, everything = 0;
  for (let i = last - 1; i >= 0; i--) mass += weights[i];
  for (let i = n - 1; i >= 0; i--) everything += weights[i];
  const share = weights.map((w, i) => (i < last ? w / mass : 0));
  for (const x of share) if (x > 0) entropy -= x * log(x);
  return { share, uncut: weights.map((w) => w / everything), entropy: entropy + 0, kept: last, mass: mass / everything };
}

function temperature(view) {
  const { data, arrays } = view, logits = arrays.logits.values, n = logits.length;
  const start = { T: 1, k: 0, p: 1 }, now = { ...start };
  const rows = range(min(n, SHOWN_TOKENS)), body = h("tbody"), chart = h("div.chart-box", null);
  const facts = h("dl.facts", null);
  const nameOf = (i) => (i < data.tokens.length ? word(data.tokens[i], 20) : `#${i}`);
  const curve = range(61).map((i) => i / 20);
  let drawn = "";
  const table = h("table.plain.drawn", h("caption", t("steps", whole(n))),
    h("thead", h("tr", ["rank", "token", "logit", "logit / T", "cut", "probability", ""].map((x, i) =>
      h("th", { scope: "col", class: i === 1 || i > 3 ? "" : "number" }, x ? t(x) : h("span.unseen", t("bar")))))), body);
  const picker = new Picker(body, { step: alongList(() => rows.length), show: (i) => tell(i), changed: view.changed });
  const trs = rows.map((i) => h("tr", h("td.number", i + 1),
    h("th", { scope: "row" }, nameOf(i)), h("td.number", signed(logits[i], fixed)),
    h("td.number", null), h("td"), h("td.number", null),
    h("td.share", h("div"))));
  body.append(...trs);
  picker.set(trs);
  trs.forEach((tr) => tr.removeAttribute("aria-selected"));

  function tell(i) {
    const { share, uncut } = now.result;
    view.say(says("drawn", nameOf(i), i + 1, signed(logits[i], fixed), brief(share[i]), brief(uncut[i])),
      t("choices", fixed(exp(now.result.entropy), 2), fixed(now.result.entropy)), picker.note());
    trs.forEach((tr) => tr.removeAttribute("aria-selected"));
  }

  function update() {
    const { T, k, p } = now, result = (now.result = sampled(logits, T, k, p));
    trs.forEach((tr, i) => {
      const [, , , scaled, cut, number, bar] = tr.children, x = result.share[i];
      scaled.textContent = T > 0 ? signed(logits[i] / T, fixed) : "–";
      cut.textContent = i < result.kept && (T > 0 || x > 0) ? t("kept") : t("cutoff");
      number.textContent = brief(x);
      number.dataset.value = x;
      tr.classList.toggle("cut", i >= result.kept);
      bar.firstChild.style.width = `${(100 * (i < result.kept ? x : result.uncut[i])).toFixed(3)}%`;
    });
    const choices = exp(result.entropy);
    facts.replaceChildren(...[
      [t("entropy"), `${fixed(result.entropy)} nats`, result.entropy], [t("effective"), fixed(choices, 2), choices],
      [t("keptn"), t("of", whole(T > 0 ? result.kept : result.share.filter((x) => x > 0).length), whole(n)), result.kept],
      [t("keptmass"), percent(result.mass), result.mass],
    ].flatMap(([name, text, x]) => [h("dt", name), h("dd", { "data-value": x }, text)]));
    const cutBy = `${k} ${p} ${view.width()}`;
    if (cutBy !== drawn) now.curve = curve.map((at) => exp(sampled(logits, at, k, p).entropy));
    drawn = cutBy;
    chart.replaceChildren(lineChart({
      width: min(view.width(), 360), height: 200, steps: curve, at: clamp(T, 0, 3), xLabel: t("temperature"), yLabel: t("effective"),
      series: [{ values: now.curve, kind: 0, plain: true }],
    }));
    tell(picker.shown ?? 0);
  }

  const change = (name) => (x) => {
    now[name] = name === "k" ? round(x) : x;
    update();
    view.changed();
  };
  const controls = {
    T: slider(t("temperature") + " T", { low: 0, high: 3, top: 100, step: 0.05, value: 1 }, change("T")),
    k: slider("top-k", { low: 0, high: min(n, 100), top: n, step: 1, value: 0 }, change("k")),
    p: slider("top-p", { low: 0.01, high: 1, step: 0.01, value: 1 }, change("p")),
  };
  view.root.append(
    h("p.prompt", h("span.label", t("prompt")), data.prompt.slice(-60).map((one) => word(one, 24)), h("span.next", "?")),
    h("div.controls.sliders", Object.values(controls), button(t("reset"), () => {
      Object.assign(now, start);
      for (const name in controls) controls[name].set(now[name]);
      update();
      view.changed();
    })),
    h("p.small", t("limits")),
    h("div.columns", h("div.scroll", table), h("div.side", facts, chart)));
  update();
  view.resized = update;
  view.image = () => ({ svg: chart.querySelector("svg") });
  return {
    params: () => ({
      T: now.T === 1 ? null : now.T, k: now.k || null, p: now.p === 1 ? null : now.p,
      token: picker.locked >= 0 ? picker.locked : null,
    }),
    apply(given) {
      for (const name in controls) {
        const x = given[name] === undefined ? NaN : +given[name];
        controls[name].set(Number.isFinite(x) ? x : start[name]);
        now[name] = controls[name].value;
      }
      update();
      picker.lock(+given.token in trs ? +given.token : -1, true);
      trs.forEach((tr) => tr.removeAttribute("aria-selected"));
    },
  };
}
