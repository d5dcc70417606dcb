// ---- attention: atlas of heads, one head, tokens lit by it

// Letters that stand for roles on the tiles.
function lettersOf(roles) {
  const letters = new Map();
  for (const role of roles) {
    const own = [...plain(role.toUpperCase()).replace(/[ _-]/g, "")], taken = [...letters.values()];
    const tries = [1, 2, 3].map((n) => own.slice(0, n).join(""));
    letters.set(role, tries.find((x) => x && !taken.includes(x)) ?? String(letters.size));
  }
  return letters;
}

function attention(view) {
  const { data, arrays } = view, { tokens } = data, n = tokens.length;
  const [nLayers, nHeads] = arrays[data.states[0]].shape;
  const heads = range(nLayers * nHeads), nameOf = (i) => `L${floor(i / nHeads)}H${i % nHeads}`;
  const roleOf = (i) => data.roles[nameOf(i)];
  const roles = [...new Set(heads.map(roleOf).filter(Boolean))].sort();
  const letters = lettersOf(roles);
  const now = { state: data.states[0], sort: "layer", own: false, video: false, side: "from", head: 0, q: n - 1, k: 0, pair: false };
  const isSigned = () => /score/.test(now.state);
  const value = (i, q, k) => arrays[now.state].values[(i * n + q) * n + k];
  const digits = () => arrays[now.state].digits ?? 4;
  const show = (x) => (isNaN(x) ? t("masked") : isSigned() ? signed(x, (y) => fixed(y, digits())) : fixed(x, digits()));
  const square = (i) => arrays[now.state].values.subarray(i * n * n, (i + 1) * n * n);

  function coloursOf(i) {
    const values = now.own && i >= 0 ? square(i) : arrays[now.state].values;
    const [low, high] = now.state === "weight" && !now.own ? [0, 1] : extent(values);
    return colouring(isSigned(), isSigned() ? low : 0, high);
  }

  // ---- atlas
  const atlas = h("div.atlas", { role: "grid", "aria-label": t("atlas") });
  const tiles = heads.map((i) => h("div", {
    role: "gridcell", class: "tile", "aria-label": nameOf(i) + (roleOf(i) ? `, ${known(roleOf(i))}` : ""),
  }, h("canvas"), roleOf(i) ? h("span.badge", { "aria-hidden": true }, letters.get(roleOf(i))) : null));
  let rows = [];
  const picker = new Picker(atlas, {
    step: inRows(() => rows.map((row) => row.heads.length)),
    show: (at) => {
      now.head = order()[at];
      // Only a locked pair stays when the head changes.
      if (!now.pair) strongest();
      showHead();
    },
    changed: view.changed,
  });
  const order = () => rows.flatMap((row) => row.heads);

  function arrange() {
    const locked = order()[picker.locked] ?? -1, at = now.head;
    rows = now.sort === "layer"
      ? range(nLayers).map((l) => ({ name: `L${l}`, heads: range(nHeads).map((k) => l * nHeads + k) }))
      : [...roles, undefined].flatMap((role) => {
          const all = heads.filter((i) => roleOf(i) === role), lines = ceil(all.length / nHeads);
          return range(lines).map((line) => ({
            name: line ? "" : role === undefined ? t("none") : `${letters.get(role)} ${known(role)}`,
            heads: all.slice(line * nHeads, (line + 1) * nHeads),
          }));
        });
    const header = now.sort === "layer"
      ? h("div.atlas-row", { role: "row" }, h("span.row-name", { role: "columnheader" }, t("corner")),
          range(nHeads).map((k) => h("span.column-name", { role: "columnheader" }, `H${k}`)))
      : null;
    atlas.replaceChildren(...[header, ...rows.map((row) => h("div.atlas-row", { role: "row" },
      h("span.row-name", { role: "rowheader" }, row.name), row.heads.map((i) => tiles[i])))].filter(Boolean));
    atlas.classList.toggle("by-role", now.sort !== "layer");
    atlas.style.setProperty("--heads", nHeads);
    picker.locked = order().indexOf(locked);
    picker.cursor = picker.shown = order().indexOf(at);
    picker.set(order().map((i) => tiles[i]));
    // In role order a head's letter says nothing new, its name does.
    order().forEach((i) => tiles[i].setAttribute("data-name", now.sort === "layer" ? "" : nameOf(i)));
  }

  function thumbnails() {
    const block = max(1, ceil(n / 64)), side = ceil(n / block);
    const all = coloursOf(-1);
    heads.forEach((i) => {
      const colours = now.own ? coloursOf(i) : all, values = square(i);
      const canvas = tiles[i].firstChild, pen = canvas.getContext("2d");
      canvas.width = canvas.height = side;
      const image = pen.createImageData(side, side), pixels = image.data;
      for (let row = 0; row < side; row++)
        for (let column = 0; column < side; column++) {
          let x = NaN;
          const down = now.video ? column : row, along = now.video ? row : column;
          for (let q = down * block; q < min(n, (down + 1) * block); q++)
            for (let k = along * block; k < min(n, (along + 1) * block); k++) {
              const one = values[q * n + k];
              if (!(abs(one) <= abs(x))) x = isNaN(one) ? x : one;
            }
          const rgb = isNaN(x) ? MASKED : colours.at(x);
          pixels.set([...rgb, 255], 4 * (row * side + column));
        }
      pen.putImageData(image, 0, 0);
    });
    bar.replaceChildren(colourBar(all, known(now.state) + (now.own ? t("ownscale") : ""), {
      masked: t("maskedlegend"), show: (x) => fixed(x, isSigned() ? 1 : 2),
    }));
  }

  // ---- one head
  const title = h("p.part-title");
  const matrix = new Matrix(now, () => showPair(), view.changed);
  const strip = h("div.strip", { role: "listbox", "aria-orientation": "horizontal", "aria-label": t("strip") });
  const chips = tokens.map((one) => h("span.chip", { role: "option" }, word(one, 24)));
  strip.append(...chips);
  const lit = new Picker(strip, {
    step: alongList(() => n),
    show: (i) => {
      now.pair = lit.locked >= 0;
      if (now.side === "from") {
        now.q = i;
        strongest();
      } else {
        now.k = i;
        if (isNaN(value(now.head, now.q, i))) now.q = max(now.q, i);
      }
      showPair();
    },
    changed: view.changed,
  });
  lit.set(chips);
  const table = h("table.plain");
  const line = (side) => range(n).map((i) => (side === "from" ? value(now.head, now.q, i) : value(now.head, i, now.k)));

  function strongest() {
    now.k = line("from").reduce((best, x, i, all) => (x > all[best] || isNaN(all[best]) ? i : best), 0);
  }

  function showHead() {
    const role = roleOf(now.head);
    title.replaceChildren(h("strong", nameOf(now.head)), role ? " · " + known(role) : "", " · " + known(now.state));
    matrix.draw({
      queries: tokens, keys: tokens, value: (q, k) => value(now.head, q, k), colours: coloursOf(now.head),
      width: view.width() > 760 ? min(540, view.width() * 0.56) : view.width(),
    });
    showPair();
  }

  function showPair() {
    const { q, k, head, pair } = now, values = line(now.side), colours = coloursOf(head);
    matrix.frame();
    const chosen = now.side === "from" ? q : k;
    chips.forEach((chip, i) => {
      paint(chip, values[i], colours);
      chip.classList.toggle("source", i === chosen);
      chip.setAttribute("aria-label", `${token(tokens[i])}, ${i}: ${show(values[i])}`);
    });
    lit.locked = pair ? chosen : -1;
    lit.cursor = lit.shown = chosen;
    lit.set(chips);
    const best = range(n).filter((i) => !isNaN(values[i])).sort((a, b) => values[b] - values[a] || a - b);
    table.replaceChildren(
      h("caption", says(now.side === "from" ? "looksat" : "lookedat", word(tokens[chosen], 24), chosen)),
      header([t("token")], [t("position"), known(now.state)]),
      h("tbody", best.slice(0, 6).map((i) => h("tr", h("th", { scope: "row" }, word(tokens[i], 24)),
        h("td.number", i), h("td.number", { "data-value": values[i] }, show(values[i]))))));
    const row = line("from"), sum = row.reduce((a, x) => a + (isNaN(x) ? 0 : x), 0);
    view.say(says("attends", nameOf(head), roleOf(head) ? ` (${known(roleOf(head))})` : "",
      word(tokens[q], 24), q, word(tokens[k], 24), k, known(now.state), show(value(head, q, k))),
      now.state === "weight" ? says("rowsum", fixed(sum)) : "",
      picker.locked >= 0 ? says("lockedhead", nameOf(order()[picker.locked])) : "",
      pair ? says("lockedpair") : "");
  }

  // ---- together
  const bar = h("div");
  const redraw = () => {
    thumbnails();
    showHead();
  };
  const set = (name, then) => (x) => {
    now[name] = x;
    then();
    view.changed();
  };
  const controls = {
    state: data.states.length > 1 ? choice(t("state"), data.states, now.state, set("state", redraw)) : null,
    sort: roles.length ? choice(t("sort"), ["layer", "role"], now.sort, set("sort", arrange)) : null,
    own: toggle(t("own"), false, set("own", redraw)),
    video: toggle(t("video"), false, set("video", redraw)),
  };
  const side = choice(t("side"), ["from", "to"], now.side, set("side", showPair));
  view.root.append(
    h("div.controls", Object.values(controls)),
    h("div.scroll", atlas),
    bar,
    roles.length ? h("p.small", t("letters"), " ",
      roles.map((role, i) => [i ? ", " : "", h("b", letters.get(role)), " " + known(role)])) : "",
    h("div.columns", h("div", title, h("div.scroll", matrix.el)),
      h("div.side", side, strip, table)));
  arrange();
  strongest();
  redraw();
  view.resized = showHead;
  view.image = () => matrix.image();
  return {
    params: () => ({
      head: picker.locked >= 0 ? nameOf(order()[picker.locked]) : null,
      pair: now.pair ? `${now.q}.${now.k}` : null,
      state: now.state === data.states[0] ? null : now.state,
      sort: now.sort === "role" ? "role" : null,
      lit: now.side === "to" ? "to" : null,
      own: now.own ? 1 : null,
      video: now.video ? 1 : null,
    }),
    apply(given) {
      Object.assign(now, {
        state: data.states.includes(given.state) ? given.state : data.states[0],
        sort: given.sort === "role" && roles.length ? "role" : "layer",
        side: given.lit === "to" ? "to" : "from", own: !!given.own, video: !!given.video,
      });
      for (const [name, control] of Object.entries(controls)) control?.set(now[name]);
      side.set(now.side);
      const head = heads.findIndex((i) => nameOf(i) === given.head);
      now.head = max(head, 0);
      const [q, k] = (given.pair ?? "").split(".").map(Number);
      now.pair = q in tokens && k in tokens;
      if (now.pair) Object.assign(now, { q, k });
      else strongest();
      arrange();
      thumbnails();
      picker.lock(head < 0 ? -1 : order().indexOf(head), true);
      showHead();
    },
  };
}
