// ---- colours

const VIRIDIS = ("440154 481467 482576 453781 404688 39558c 33638d 2d718e 287d8e 238a8d 1f968b " +
  "20a386 29af7f 3cbb75 55c667 73d055 95d840 b8de29 dce319 fde725").split(" ");
// Blue below 0, red above, as in the static pictures.
const SIGNED = ("053061 2166ac 4393c3 92c5de d1e5f0 f7f7f7 fddbc7 f4a582 d6604d b2182b 67001f")
  .split(" ");
const MASKED = [217, 217, 217], MASKED_LINE = [150, 150, 150];

function scaleOf(anchors) {
  const rgb = anchors.map((c) => [0, 2, 4].map((i) => parseInt(c.slice(i, i + 2), 16)));
  return range(256).map((i) => {
    const at = (i / 255) * (rgb.length - 1), k = min(floor(at), rgb.length - 2);
    return rgb[k].map((low, c) => round(low + (at - k) * (rgb[k + 1][c] - low)));
  });
}
const SCALES = { weights: scaleOf(VIRIDIS), signed: scaleOf(SIGNED) };

// What turns values into colours: `low` to `high`, symmetric about 0 where signs matter.
function colouring(isSigned, low, high) {
  if (isSigned) [low, high] = [-1, 1].map((x) => x * (max(abs(low), abs(high)) || 1));
  else if (!(high > low)) high = low + 1;
  const scale = isSigned ? SCALES.signed : SCALES.weights;
  const at = (x) => scale[clamp(floor(((x - low) / (high - low)) * 256), 0, 255)];
  return { isSigned, low, high, scale, at };
}
const css = (rgb) => `rgb(${rgb.join(",")})`;
// Black or white, whichever can be read; one of the two always has a contrast above 4.5.
function inkOn(rgb) {
  const [r, g, b] = rgb.map((c) => (c / 255 <= 0.04045 ? c / 3294.6 : ((c / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.1791 ? "#000" : "#fff";
}
// Marks an element with a value's colour, or as one without value.
function paint(el, x, colours) {
  const masked = isNaN(x);
  el.classList.toggle("masked", masked);
  el.style.background = masked ? "" : css(colours.at(x));
  el.style.color = masked ? "" : inkOn(colours.at(x));
}

function hatch(context) {
  const tile = h("canvas", { width: 6, height: 6 }), pen = tile.getContext("2d");
  pen.fillStyle = css(MASKED);
  pen.fillRect(0, 0, 6, 6);
  pen.strokeStyle = css(MASKED_LINE);
  for (const x of [-6, 0, 6]) {
    pen.moveTo(x - 1, 7);
    pen.lineTo(x + 7, -1);
  }
  pen.stroke();
  return context.createPattern(tile, "repeat");
}

// Colour bar with its ends, 0 or the middle, named values, and the swatch for "no value".
function colourBar(colours, unit, { marks = {}, masked = "", show = brief } = {}) {
  const { low, high, scale } = colours;
  const stops = range(17).map((i) => css(scale[round((i * 255) / 16)]));
  const place = (x) => `${(100 * clamp((x - low) / (high - low), 0, 1)).toFixed(2)}%`;
  const number = colours.isSigned ? (x) => signed(x, show) : show;
  const tick = (x, edge) => h("span", { class: "tick " + edge, style: { left: place(x) } }, number(x));
  const named = Object.entries(marks).sort((a, b) => a[1] - b[1]);
  return h("div.bar-row", h("div.bar-unit", phrase(unit)),
    h("div.bar", { style: { "margin-top": `${named.length * 1.15}rem` } },
      h("div.bar-colours", { style: { background: `linear-gradient(90deg,${stops})` } }),
      tick(low, "first"), tick((low + high) / 2, ""), tick(high, "last"),
      named.map(([name, x], i) => {
        const right = (x - low) / (high - low) > 0.5;
        return h("span", {
          class: "bar-mark" + (right ? " right" : ""),
          "data-value": x,
          style: { left: place(x), height: `${(named.length - i) * 1.15 + 1}rem` },
        }, h("span", phrase(name, 24), " " + number(x)));
      })),
    masked ? h("div.bar-masked", h("span.swatch.masked"), masked) : null);
}
