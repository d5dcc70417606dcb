// ---- choosing one of many: hover previews, click or Enter locks, arrows move, Escape unlocks

// `show(i)` draws what i stands for; `changed()` hears of locks. One Tab stop for all elements.
class Picker {
  constructor(host, { step, show, changed, hit }) {
    Object.assign(this, { host, step, show, changed, els: [], cursor: 0, locked: -1 });
    this.hit = hit ?? ((event) => {
      const el = event.target.closest?.("[data-i]");
      return el && host.contains(el) ? +el.dataset.i : -1;
    });
    host.addEventListener("pointermove", (event) => {
      const i = event.pointerType === "touch" ? -1 : this.hit(event);
      if (this.locked < 0 && i >= 0 && i !== this.shown) this.preview(i);
    });
    host.addEventListener("click", (event) => {
      const i = this.hit(event);
      if (i < 0) return;
      this.move(i);
      this.lock(this.locked === i ? -1 : i);
    });
    host.addEventListener("keydown", (event) => this.key(event));
    host.addEventListener("focusin", (event) => {
      const i = +event.target.dataset?.i;
      if (i >= 0 && this.locked < 0 && this.shown !== i) this.preview(i);
    });
  }

  // Elements in order; those that went take their marks with them.
  set(els) {
    this.els = els;
    this.cursor = clamp(this.cursor, 0, els.length - 1);
    els.forEach((el, i) => {
      el.dataset.i = i;
      el.setAttribute("tabindex", i === this.cursor ? 0 : -1);
      el.setAttribute("aria-selected", i === this.locked);
      el.classList.toggle("locked", i === this.locked);
    });
  }

  note() {
    return this.locked >= 0 ? t("locked") : "";
  }

  preview(i) {
    this.els[this.shown]?.classList.remove("shown");
    this.shown = i;
    this.els[i]?.classList.add("shown");
    this.show(i);
  }

  move(i) {
    this.els[this.cursor]?.setAttribute("tabindex", -1);
    this.cursor = i;
    this.els[i].setAttribute("tabindex", 0);
    this.els[i].focus({ preventScroll: false });
  }

  lock(i, quiet) {
    const old = this.els[this.locked];
    old?.classList.remove("locked");
    old?.setAttribute("aria-selected", false);
    this.locked = i;
    const el = this.els[i];
    if (el) {
      el.classList.add("locked");
      el.setAttribute("aria-selected", true);
      this.els[this.cursor]?.setAttribute("tabindex", -1);
      this.cursor = i;
      el.setAttribute("tabindex", 0);
      this.preview(i);
    } else if (this.shown >= 0) this.show(this.shown);
    if (!quiet) this.changed();
  }

  key(event) {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const { key } = event;
    let to;
    if (key === "Enter" || key === " ") this.lock(this.cursor);
    else if (key === "Escape") this.lock(-1);
    else if (key === "Home") to = 0;
    else if (key === "End") to = this.els.length - 1;
    else if (key.startsWith("Arrow")) to = this.step(this.cursor, key.slice(5)) ?? this.cursor;
    else return;
    event.preventDefault();
    if (to === undefined) return;
    this.move(to);
    if (this.locked >= 0) this.lock(to);
    else this.preview(to);
  }
}

// Steps in a list, and in rows of given lengths.
const alongList = (n) => (i, way) =>
  clamp(i + (way === "Right" || way === "Down" ? 1 : -1), 0, n() - 1);
const inRows = (lengths) => (i, way) => {
  let row = 0, start = 0;
  const all = lengths();
  while (i >= start + all[row]) start += all[row++];
  const column = i - start;
  if (way === "Left") return column > 0 ? i - 1 : i;
  if (way === "Right") return column < all[row] - 1 ? i + 1 : i;
  if (way === "Up") return row > 0 ? start - all[row - 1] + min(column, all[row - 1] - 1) : i;
  return row < all.length - 1 ? start + all[row] + min(column, all[row + 1] - 1) : i;
};
// The nearest place on that side, farther ones off the line counting double.
const towards = (places) => (i, way) => {
  const at = places(), here = at[i];
  const across = way === "Left" || way === "Right", sign = way === "Left" || way === "Up" ? -1 : 1;
  let best = i, least = Infinity;
  at.forEach((p, k) => {
    const ahead = sign * (across ? p.x - here.x : p.y - here.y);
    const aside = abs(across ? p.y - here.y : p.x - here.x);
    if (k === i || ahead <= 0.5) return;
    const cost = ahead + 2 * aside;
    if (cost < least) [best, least] = [k, cost];
  });
  return best;
};
// The place under the pointer or nearest to it, within reach.
const nearest = (svg, places, reach = 28) => (event) => {
  const box = svg.getBoundingClientRect(), k = svg.viewBox.baseVal.width / box.width || 1;
  const x = (event.clientX - box.left) * k, y = (event.clientY - box.top) * k;
  let best = -1, least = reach * reach;
  places().forEach((p, i) => {
    const d = (p.x - x) ** 2 + (p.y - y) ** 2;
    if (d < least) [best, least] = [i, d];
  });
  return best;
};

// ---- controls

// The head of a table: columns of words, then columns of numbers.
const header = (words, numbers) => h("thead", h("tr", words.map((x) => h("th", { scope: "col" }, x)), numbers.map((x) => h("th.number", { scope: "col" }, x))));

const button = (text, press, attributes) =>
  h("button", { type: "button", click: press, ...attributes }, text);

function toggle(text, on, change) {
  const el = button(text, () => {
    const now = el.getAttribute("aria-pressed") !== "true";
    el.setAttribute("aria-pressed", now);
    change(now);
  }, { "aria-pressed": on });
  el.set = (now) => el.setAttribute("aria-pressed", now);
  return el;
}

// One of a few, as a row of buttons.
function choice(label, names, value, change, shown = known) {
  const els = names.map((name) => button(shown(name), () => {
    el.set(name);
    change(name);
  }));
  const el = h("div.pick", { role: "group", "aria-label": label },
    h("span.label", { "aria-hidden": true }, label), els);
  el.set = (now) => els.forEach((b, i) => b.setAttribute("aria-pressed", names[i] === now));
  el.set(value);
  return el;
}

// A slider with a number beside it and a button for each step.
function slider(label, { low, high, top = high, step, value, digits = 2 }, change) {
  const set = (x, quiet) => {
    x = clamp(Number.isFinite(x) ? +x.toFixed(6) : value, low, top);
    track.value = number.value = el.value = x;
    track.setAttribute("aria-valuetext", `${label} ${x}`);
    if (!quiet) change(x);
  };
  const common = { min: low, step, autocomplete: "off" };
  const track = h("input", {
    type: "range", ...common, max: high, "aria-label": label, input: () => set(+track.value),
  });
  const number = h("input", {
    type: "number", ...common, step: "any", max: top, "aria-label": t("number", label),
    change: () => set(number.value === "" ? NaN : +number.value),
  });
  const by = (sign, text) => button(text, () => set(+(el.value + sign * step).toFixed(digits)), {
    class: "step", "aria-label": t(sign < 0 ? "less" : "more", label),
  });
  const el = h("div.slider", { role: "group", "aria-label": label },
    h("span.label", { "aria-hidden": true }, label), by(-1, "−"), track, by(1, "+"), number);
  el.set = (x) => set(x, true);
  set(value, true);
  return el;
}
