// ---- from static pictures to explorable figures

const KINDS = { attention, lens, score_terms: scoreTerms, temperature, number_line: numberLine, plane, rectangles, grid, flow };
const figures = new Map();

// Selections in the fragment: #figure?name=value&name=value;other?name=value. A page inside another
// one (srcdoc) may have no address of its own.
function fragment() {
  const out = new Map();
  for (const piece of location.hash.slice(1).split(";")) {
    const [figure, query] = piece.split("?");
    if (query !== undefined) out.set(figure, Object.fromEntries(new URLSearchParams(query)));
  }
  return out;
}
function address(first) {
  const pieces = [first, ...[...figures.keys()].filter((name) => name !== first)].map((name) => {
    const given = Object.entries(figures.get(name).params()).filter(([, value]) => value !== null && value !== undefined);
    return given.length ? `${name}?${new URLSearchParams(given.map(([k, v]) => [k, String(v)]))}` : "";
  }).filter(Boolean);
  return "#" + (pieces.join(";") || first);
}
function remember(name) {
  try {
    history.replaceState(null, "", address(name));
  } catch {
    // Without an address the selection lives as long as the page.
  }
}

const PAINT = "fill fill-opacity stroke stroke-width stroke-dasharray stroke-opacity font text-anchor visibility".split(" ");
// An SVG with the colours that the page's style gives it, over a canvas, as PNG.
async function download({ svg, canvas, at = [0, 0] }, name) {
  const copy = svg.cloneNode(true), own = [...svg.querySelectorAll("*")];
  [...copy.querySelectorAll("*")].forEach((el, i) => {
    const style = getComputedStyle(own[i]);
    for (const key of PAINT) el.style.setProperty(key, style.getPropertyValue(key));
  });
  const image = new Image(), [width, height] = ["width", "height"].map((k) => +svg.getAttribute(k));
  const source = new XMLSerializer().serializeToString(copy);
  image.src = "data:image/svg+xml;charset=utf-8," + encodeURIComponent(source);
  await image.decode();
  const out = h("canvas", { width: 2 * width, height: 2 * height }), pen = out.getContext("2d");
  pen.scale(2, 2);
  pen.fillStyle = getComputedStyle(document.body).backgroundColor;
  pen.fillRect(0, 0, width, height);
  pen.imageSmoothingEnabled = false;
  if (canvas) pen.drawImage(canvas, ...at, canvas.clientWidth, canvas.clientHeight);
  pen.drawImage(image, 0, 0, width, height);
  h("a", { href: out.toDataURL("image/png"), download: `${name}.png` }).click();
}

async function upgrade(script, given) {
  const { kind, data, arrays } = JSON.parse(script.textContent), name = script.dataset.figure;
  const figure = script.closest("figure"), picture = figure.querySelector(".picture");
  for (const key of Object.keys(arrays)) arrays[key] = await unpacked(arrays[key]);
  const question = script.closest("section")?.querySelector("h2")?.textContent ?? "";
  const root = h("div.view"), line = h("p.status", { role: "status" });
  const modes = choice("", ["explore", "static"], "explore", (mode) => show(mode), t);
  const view = {
    data, arrays, root,
    width: () => floor(root.clientWidth) || 900,
    // Parts with nodes in them, so that tokens stay text.
    say: (...parts) => line.replaceChildren(...parts.filter((p) => p && p.length).flatMap((p, i) => [i ? "; " : "", p]).flat(2)),
    changed: () => remember(name),
  };
  const copy = button(t("copy"), async () => {
    const link = location.href.split("#")[0] + address(name);
    try {
      await navigator.clipboard.writeText(link);
      line.textContent = t("copied");
    } catch {
      line.textContent = link;
    }
  });
  const png = button(t("png"), () => download(view.image(), name));
  const viewer = h("div.viewer", { role: "group", "aria-label": t("exploring", question) }, root, line, h("p.small.help", t("help")));
  const show = (mode) => {
    viewer.hidden = mode !== "explore";
    picture.hidden = !viewer.hidden;
  };
  const tools = h("div.viewer-tools", modes, location.protocol === "about:" ? null : copy, png);
  picture.before(tools, viewer);
  try {
    const made = KINDS[kind](view);
    figures.set(name, made);
    if (given) made.apply(given);
    png.hidden = !view.image;
    show("explore");
    let last = view.width();
    if (view.resized) new ResizeObserver(() => {
      if (root.clientWidth && abs(view.width() - last) > 4) {
        last = view.width();
        view.resized();
      }
    }).observe(root);
  } catch (problem) {
    tools.remove();
    viewer.replaceChildren(h("p.small", t("failed")));
    picture.hidden = false;
    console.error(problem);
  }
}

async function start() {
  const scripts = [...document.querySelectorAll("script.view")], given = fragment();
  for (const script of scripts) await upgrade(script, given.get(script.dataset.figure));
  // Figures have new heights, and a fragment with a selection names no element of its own.
  const target = document.getElementById(location.hash.slice(1).split(/[?;]/)[0]);
  if (target && scripts.length) target.scrollIntoView();
  window.addEventListener("hashchange", () => fragment().forEach((params, name) => figures.get(name)?.apply(params)));
  document.documentElement.dataset.viewer = "ready";
}
start();
