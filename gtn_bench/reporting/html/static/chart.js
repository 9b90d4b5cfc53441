/* The drawing of a chart: axes, bands, lines, markers. */
const HEIGHT = 270, MARGIN = { left: 44, right: 12, top: 24, bottom: 42 }, GUTTER = 46;

const MARKERS = {
  o: "M4 0A4 4 0 1 1-4 0A4 4 0 1 1 4 0Z", s: "M-3.5-3.5H3.5V3.5H-3.5Z", D: "M0-4.8L4.8 0L0 4.8L-4.8 0Z", d: "M0-5L3.2 0L0 5L-3.2 0Z",
  "^": "M0-4.6L4.4 3.6H-4.4Z", v: "M0 4.6L4.4-3.6H-4.4Z", "<": "M-4.6 0L3.6-4.4V4.4Z", ">": "M4.6 0L-3.6-4.4V4.4Z",
  P: "M-1.6-4.4H1.6V-1.6H4.4V1.6H1.6V4.4H-1.6V1.6H-4.4V-1.6H-1.6Z",
  X: "M-2.6-4.6L0-2L2.6-4.6L4.6-2.6L2 0L4.6 2.6L2.6 4.6L0 2L-2.6 4.6L-4.6 2.6L-2 0L-4.6-2.6Z",
  p: "M0-4.8L4.6-1.5L2.8 3.9H-2.8L-4.6-1.5Z", h: "M0-4.8L4.2-2.4V2.4L0 4.8L-4.2 2.4V-2.4Z",
};

function colorOf(mode) { return window.matchMedia("(prefers-color-scheme: dark)").matches ? mode.dark : mode.color; }
function dashesOf(mode) { return mode.dashes.map((length) => 1.8 * length).join(" "); }

function sample(mode) {
  const color = colorOf(mode);
  return shape("svg", { width: 34, height: 12, viewBox: "0 0 34 12", "aria-hidden": "true" },
    shape("line", { x1: 0, x2: 34, y1: 6, y2: 6, stroke: color, "stroke-width": 1.8, "stroke-dasharray": dashesOf(mode) }),
    shape("path", { d: MARKERS[mode.marker], transform: "translate(17 6)", fill: color }));
}

/* A marker: hollow if suspect, light if unknown, else full. */
function markerOf(mode, grade, x, y) {
  const color = colorOf(mode);
  const opacity = grade === "suspect" ? 0 : grade === "unknown" ? 0.3 : 1;
  const ground = shape("path", { d: MARKERS[mode.marker], fill: "var(--ground)" });
  const front = shape("path", { class: "point", d: MARKERS[mode.marker], fill: color, "fill-opacity": opacity, stroke: color });
  return shape("g", { transform: `translate(${x.toFixed(1)} ${y.toFixed(1)})` }, ground, front);
}

function path(points) { return points.map(([x, y], place) => `${place ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join(""); }

function area(lower, upper, attributes) {
  return lower.length > 1 ? shape("path", { d: `${path(upper)}${path(lower.slice().reverse()).replace("M", "L")}Z`, ...attributes }) : null;
}

/* Lines that hatch what neither an attack nor a certificate settles. */
function hatch(id, color) {
  return shape("pattern", { id, width: 6, height: 6, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" },
    shape("line", { x1: 0, y1: 0, x2: 0, y2: 6, stroke: color, "stroke-width": 1.2 }));
}

function axes(svg, width, horizontal, vertical, title) {
  const bottom = HEIGHT - MARGIN.bottom;
  for (const value of vertical.ticks) {
    const y = vertical.at(value);
    svg.append(shape("line", { class: "grid", x1: MARGIN.left, x2: width - MARGIN.right, y1: y, y2: y }));
    svg.append(shape("text", { x: MARGIN.left - 8, y: y + 4, "text-anchor": "end" }, strength(value)));
  }
  let last = -Infinity;
  for (const value of horizontal.ticks) {
    const x = horizontal.at(value), text = strength(value);
    svg.append(shape("line", { class: "frame", x1: x, x2: x, y1: bottom, y2: bottom + 4 }));
    if (x - last < 8 + 7 * text.length) continue;
    last = x;
    svg.append(shape("text", { x, y: bottom + 17, "text-anchor": "middle" }, text));
  }
  svg.append(shape("path", { class: "frame", d: `M${MARGIN.left} ${bottom}H${width - MARGIN.right}` }));
  svg.append(shape("text", { class: "title", x: 0, y: 11 }, "accuracy"));
  svg.append(shape("text", { class: "title", x: (MARGIN.left + width - MARGIN.right) / 2, y: HEIGHT - 6, "text-anchor": "middle" }, title));
}
