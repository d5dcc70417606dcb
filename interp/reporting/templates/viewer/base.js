// ---- elements, text and numbers

const SVG = "http://www.w3.org/2000/svg", XHTML = "http://www.w3.org/1999/xhtml";

const { abs, ceil, exp, floor, hypot, log, log10, max, min, round, sign, sqrt } = Math;

// An element by "tag.class.class", its attributes if it has any, and its children. Children that are
// strings become text, never markup.
function make(space, name, parts) {
  const attributes = parts[0]?.constructor === Object ? parts[0] : {};
  const children = parts[0] === attributes ? parts.slice(1) : parts;
  const [tag, ...classes] = name.split("."), el = document.createElementNS(space, tag);
  return add(el, classes.length ? { class: classes.join(" "), ...attributes } : attributes, children);
}
function add(el, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (typeof value === "function") el.addEventListener(name, value);
    else if (name === "style") Object.entries(value).forEach(([k, v]) => el.style.setProperty(k, v));
    else if (value !== null && value !== undefined && value !== false)
      el.setAttribute(name, value === true ? "" : value);
  }
  el.append(...children.flat(9).filter((child) => child !== null && child !== undefined));
  return el;
}
const h = (name, ...parts) => make(XHTML, name, parts);
const s = (name, ...parts) => make(SVG, name, parts);

// Characters without a shape of their own are spelt out, as in the tables.
const NO_SHAPE = /[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Cn}\p{Zl}\p{Zp}]/gu;
const code = (c) => {
  const number = c.codePointAt(0);
  return number < 0x10000
    ? "\\u" + number.toString(16).padStart(4, "0")
    : "\\U" + number.toString(16).padStart(8, "0");
};
const plain = (text) =>
  String(text).replace(/\n/g, "⏎").replace(/\t/g, "⇥").replace(NO_SHAPE, code);
function clip(text, longest) {
  const all = [...String(text)];
  return all.length <= longest ? plain(text) : plain(all.slice(0, longest - 1).join("")) + "…";
}
// Spaces of tokens are dots; single ones within a name can be seen as they are.
const token = (text, longest = 60) =>
  text === "" ? "∅" : clip(/^\S+( \S+)+$/.test(text) ? text : String(text).replaceAll(" ", "·"), longest);
// Isolated, so that a right-to-left token leaves the sentence around it in order.
const word = (text, longest) => h("bdi.tok", token(text, longest));
const phrase = (text, longest = 80) => h("bdi", clip(text, longest));

const minus = (text) => text.replace("-", "−");
const fixed = (x, digits = 3) => {
  if (x === null || isNaN(x)) return "–";
  const text = x.toFixed(digits);
  return minus(/[1-9]/.test(text) ? text : text.replace("-", ""));
};
// As the tables round: three digits after the point, small numbers with their power of ten.
const brief = (x) =>
  x === null || isNaN(x) ? "–"
  : x !== 0 && abs(x) < 0.001
    ? x.toExponential(1).replace(/e(.)(\d)$/, "e$10$2").replaceAll("-", "−")
  : fixed(x, 3);
const signed = (x, show = brief) => (x > 0 ? "+" : "") + show(x);
const whole = (x) => round(x).toLocaleString("en-US");
const percent = (x) => (100 * x).toFixed(1) + " %";
const clamp = (x, low, high) => min(high, max(low, x));
const range = (n) => Array.from({ length: n }, (_, i) => i);

// A phrase with fields {0}, {1}, ... as a list of strings and nodes.
const says = (name, ...fields) =>
  (WORDS[name] ?? name).split(/(\{\d\})/).map((piece, i) =>
    i % 2 ? fields[+piece[1]] ?? "" : piece);
const t = (name, ...fields) => says(name, ...fields).join("");
// Names that come with the data and that the viewer knows.
const known = (name) => WORDS["=" + name] ?? clip(String(name).replace(/_/g, " "), 60);

// ---- arrays of the page

function bytesOf(id) {
  const text = atob(document.getElementById(id).textContent.trim());
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

async function unpacked({ id, type, shape, lower, decimals }) {
  const stream = new Blob([bytesOf(id)]).stream().pipeThrough(new DecompressionStream("gzip"));
  const planes = new Uint8Array(await new Response(stream).arrayBuffer());
  const size = +type[1], n = planes.length / size;
  const bytes = new Uint8Array(planes.length);
  for (let b = 0; b < size; b++) for (let i = 0; i < n; i++) bytes[i * size + b] = planes[b * n + i];
  const kept = new { f4: Float32Array, i2: Int16Array, i4: Int32Array }[type](bytes.buffer);
  const none = { i2: -32768, i4: -2147483648 }[type];
  const scale = 10 ** (decimals ?? 0);
  const value = (i) => (kept[i] === none ? NaN : type === "f4" ? kept[i] : kept[i] / scale);
  const values = new Float64Array(shape.reduce((a, b) => a * b, 1));
  if (!lower) for (let i = 0; i < n; i++) values[i] = value(i);
  else {
    values.fill(NaN);
    const side = shape[shape.length - 1];
    for (let square = 0, i = 0; i < n; square += side * side)
      for (let row = 0; row < side; row++)
        for (let column = 0; column <= row; column++) values[square + row * side + column] = value(i++);
  }
  return { values, shape, digits: decimals };
}

// Least and largest of what is there.
function extent(values) {
  let low = Infinity, high = -Infinity;
  for (const x of values) {
    if (x === null || !Number.isFinite(x)) continue;
    if (x < low) low = x;
    if (x > high) high = x;
  }
  return low > high ? [0, 1] : [low, high];
}
