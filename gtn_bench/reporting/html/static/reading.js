/* Values of a chart for pointers and keys. */
function describe(point) {
  const { curve, place } = point, rows = [];
  const put = (name, value) => { if (value) rows.push([name, value]); };
  put("beta", curve.clean && curve.beta[place] === 0 ? "0 (clean)" : strength(curve.beta[place]));
  put("accuracy", `${share(curve.accuracy[place])} ${curve.low ? bracket(curve.low[place], curve.high[place]) : ""}`.trim());
  if (curve.bandLow) put("all points at once", bracket(curve.bandLow[place], curve.bandHigh[place]));
  if (curve.certified) put("certified", share(curve.certified[place]));
  if (curve.l2) put("L2", pair(curve.l2[place], curve.fooledL2 && curve.fooledL2[place]));
  if (curve.linf) put("L-infinity", pair(curve.linf[place], curve.fooledLinf && curve.fooledLinf[place]));
  if (curve.seeds) put("learners", String(curve.seeds[place]));
  if (curve.grade) put("grade", curve.grade[place] + (curve.proven && curve.proven[place] ? ", proven" : ""));
  return rows;
}
function pair(all, fooled) { return known(fooled) ? `${distance(all)}, fooled images ${distance(fooled)}` : distance(all); }

/* `points` have x, y, title, curve, place; the curves are the keyboard's rows. */
function readable(figure, svg, points) {
  const cursor = shape("circle", { class: "cursor", r: 8, visibility: "hidden" });
  svg.append(cursor);
  let tip = figure.querySelector(".tip"), current = null;
  if (!tip) { tip = element("div", { class: "tip", hidden: true }); figure.append(tip); }
  const show = (point, announce) => {
    current = point;
    cursor.setAttribute("visibility", point ? "visible" : "hidden");
    tip.hidden = !point;
    if (!point) return;
    cursor.setAttribute("cx", point.x);
    cursor.setAttribute("cy", point.y);
    const rows = describe(point);
    tip.replaceChildren(element("b", {}, point.title), element("dl", {}, ...rows.flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)])));
    const box = svg.getBoundingClientRect(), top = svg.offsetTop || box.top - figure.getBoundingClientRect().top;
    tip.style.left = `${Math.max(0, Math.min(point.x - tip.offsetWidth / 2, box.width - tip.offsetWidth))}px`;
    tip.style.top = `${top + (point.y < HEIGHT / 2 ? point.y + 18 : point.y - 18 - tip.offsetHeight)}px`;
    if (announce) document.getElementById("reading").textContent = `${point.title}: ${rows.map((row) => row.join(" ")).join("; ")}`;
  };
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect(), x = event.clientX - box.left, y = event.clientY - box.top;
    let best = null, nearest = 40 * 40;
    for (const point of points) {
      const away = (point.x - x) ** 2 + (point.y - y) ** 2;
      if (away < nearest) { nearest = away; best = point; }
    }
    show(best, false);
  });
  svg.addEventListener("pointerleave", () => show(null));
  svg.addEventListener("blur", () => show(null));
  svg.addEventListener("focus", () => { if (!current && points.length && svg.matches(":focus-visible")) show(points[0], true); });
  svg.addEventListener("keydown", (event) => {
    const next = neighbor(points, current, event.key);
    if (event.key === "Escape") show(null);
    if (next) { show(next, true); event.preventDefault(); }
  });
}

/* The next point of the curve for left and right, the next curve at the nearest place for up and down. */
function neighbor(points, current, key) {
  if (!["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "Home", "End"].includes(key) || !points.length) return null;
  if (!current) return points[0];
  const mine = points.filter((point) => point.curve === current.curve), here = mine.indexOf(current);
  if (key === "Home") return mine[0];
  if (key === "End") return mine[mine.length - 1];
  if (key === "ArrowLeft" || key === "ArrowRight") return mine[Math.max(0, Math.min(mine.length - 1, here + (key === "ArrowLeft" ? -1 : 1)))];
  const curves = [...new Set(points.map((point) => point.curve))];
  const other = curves[(curves.indexOf(current.curve) + (key === "ArrowDown" ? 1 : curves.length - 1)) % curves.length];
  return points.filter((point) => point.curve === other).reduce((best, point) => (Math.abs(point.x - current.x) < Math.abs(best.x - current.x) ? point : best));
}
