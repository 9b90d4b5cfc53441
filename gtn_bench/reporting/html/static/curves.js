/* The charts of accuracy over strength or distance, and their controls. */
function curveCharts(data) {
  const byName = new Map(data.modes.map((mode) => [mode.name, mode]));
  const state = {
    modes: new Set(byName.keys()), architectures: new Set(data.shownArchitectures), teachers: new Set(data.teachers), seeds: new Set(),
    x: "beta", scale: "auto", bands: data.bands, published: data.published.length > 0,
  };
  for (const curve of data.curves) curve.clean = curve.beta[0] === 0;
  const holders = [...document.querySelectorAll(".plots")];

  const shownIn = (curve, teacher, label) =>
    curve.perturbation === label && state.modes.has(curve.mode) && state.architectures.has(curve.architecture) &&
    (curve.teacher === teacher || curve.teacher === data.none);
  const titleOf = (curve) => [curve.mode, state.architectures.size > 1 ? nameOf(curve.architecture) : "", known(curve.seed) ? `seed ${curve.seed}` : ""].filter(Boolean).join(", ");
  const nameOf = (architecture) => (architecture === data.pooled ? "accepted (pooled)" : architecture);

  function lowest(perturbation) {
    const swept = data.curves.filter((curve) => curve.perturbation === perturbation.label).flatMap((curve) => curve.beta);
    return Math.min(...swept.filter((beta) => beta > 0));
  }

  function draw(figure, perturbation, teacher, number) {
    const width = Math.max(260, Math.floor(figure.clientWidth)), svg = figure.querySelector("svg");
    const curves = data.curves.filter((curve) => shownIn(curve, teacher, perturbation.label));
    const single = (data.learners || []).filter((curve) => state.seeds.has(curve.seed) && shownIn(curve, teacher, perturbation.label));
    const published = state.published && state.x === "beta" ? data.published.filter((curve) => curve.teacher === teacher && curve.perturbation === perturbation.label && state.modes.has(curve.mode)) : [];
    const xs = (curve) => (state.x === "beta" ? curve.beta : curve[state.x] || []);
    const all = [...curves, ...single, ...published].flatMap(xs).filter(known), positive = all.filter((value) => value > 0);
    const swept = state.x === "beta" ? lowest(perturbation) : 0, addedClean = state.x === "beta" && perturbation.lacksZero;
    const logarithmic = positive.length > 0 && (state.scale === "log" || (state.scale === "auto" && state.x === "beta" && perturbation.logarithmic));
    const gutter = logarithmic || addedClean ? GUTTER : 0;
    const low = logarithmic ? Math.min(...positive) : addedClean ? Math.min(swept, ...positive) : Math.min(0, ...all), high = Math.max(...all, low);
    const horizontal = axis(low, high > low ? high : logarithmic ? low * 10 : low + (Math.abs(low) || 1), MARGIN.left + gutter + 6, width - MARGIN.right - 6, logarithmic);
    const vertical = axis(0, 1, HEIGHT - MARGIN.bottom, MARGIN.top, false, 40);
    const outside = (value) => value === 0 && gutter > 0;
    const at = (value) => (outside(value) ? MARGIN.left + 16 : horizontal.at(value));
    svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    svg.setAttribute("height", HEIGHT);
    svg.replaceChildren(shape("title", {}, `Accuracy over ${state.x}, ${perturbation.name}`));
    axes(svg, width, horizontal, vertical, { beta: `beta: ${perturbation.axis}`, l2: "mean L2 distance, pixel value", linf: "mean L-infinity distance, pixel value" }[state.x]);
    if (gutter && all.includes(0)) svg.append(shape("text", { x: MARGIN.left + 16, y: HEIGHT - MARGIN.bottom + 17, "text-anchor": "middle" }, state.x === "beta" ? "clean" : "0"));
    const points = [], lines = [], marks = [];
    const inside = (curve, column) => curve[column] ? curve.beta.map((_, place) => [xs(curve)[place], curve[column][place]]).filter(([x, y]) => known(x) && known(y) && !outside(x)).map(([x, y]) => [at(x), vertical.at(y)]) : [];
    const [bottom, top] = { pointwise: ["low", "high"], simultaneous: ["bandLow", "bandHigh"], none: ["", ""] }[state.bands];
    curves.forEach((curve, order) => {
      const mode = byName.get(curve.mode), color = colorOf(mode);
      svg.append(area(inside(curve, bottom), inside(curve, top), { class: "band", fill: color, style: `opacity:${curves.length > 6 ? 0.6 / curves.length : Math.min(0.16, 1 / curves.length)}` }) || "");
      if (curve.certified && state.x === "beta") {
        const id = `hatch-${number}-${order}`, proven = curve.beta.map((_, place) => place).filter((place) => known(curve.certified[place]) && !outside(curve.beta[place]));
        svg.append(shape("defs", {}, hatch(id, color)));
        svg.append(area(proven.map((place) => [at(curve.beta[place]), vertical.at(curve.certified[place])]), proven.map((place) => [at(curve.beta[place]), vertical.at(curve.accuracy[place])]), { class: "proof", fill: `url(#${id})` }) || "");
        lines.push(shape("path", { class: "certified", d: path(inside(curve, "certified")), stroke: color }));
      }
      lines.push(shape("path", { class: curve.architecture === data.pooled || state.architectures.size === 1 ? "line" : "line thin", d: path(inside(curve, "accuracy")), stroke: color, "stroke-dasharray": dashesOf(mode), "data-mode": curve.mode }));
      curve.beta.forEach((_, place) => {
        if (!known(xs(curve)[place]) || !known(curve.accuracy[place])) return;
        const x = at(xs(curve)[place]), y = vertical.at(curve.accuracy[place]);
        marks.push(markerOf(mode, curve.grade[place], x, y));
        if (curve.proven && curve.proven[place]) marks.push(shape("circle", { class: "ring", cx: x, cy: y, r: 7.5, stroke: color }));
        points.push({ x, y, curve, place, title: titleOf(curve) });
      });
    });
    for (const curve of single) {
      const mode = byName.get(curve.mode);
      lines.push(shape("path", { class: "line single", d: path(inside(curve, "accuracy")), stroke: colorOf(mode), "data-seed": curve.seed }));
      curve.beta.forEach((_, place) => { if (known(xs(curve)[place])) points.push({ x: at(xs(curve)[place]), y: vertical.at(curve.accuracy[place]), curve, place, title: titleOf(curve) }); });
    }
    for (const curve of published) lines.push(shape("path", { class: "line published", d: path(inside(curve, "accuracy")), stroke: colorOf(byName.get(curve.mode)) }));
    svg.append(...lines, ...marks);
    if (!curves.length) svg.append(shape("text", { x: width / 2, y: HEIGHT / 2, "text-anchor": "middle" }, "nothing is switched on"));
    const fresh = svg.cloneNode(true);
    svg.replaceWith(fresh);
    readable(figure, fresh, points);
  }

  function charts() {
    holders.forEach((holder, number) => {
      const perturbation = data.perturbations[Number(holder.dataset.perturbation)], teachers = data.teachers.filter((teacher) => state.teachers.has(teacher));
      if (holder.children.length !== teachers.length || teachers.some((teacher, place) => holder.children[place].dataset.teacher !== teacher))
        holder.replaceChildren(...teachers.map((teacher) => {
          const title = data.teachers.length > 1 ? `, teacher ${teacher}` : "";
          const svg = shape("svg", { class: "chart", tabindex: 0, role: "application", "aria-roledescription": "chart", "aria-label": `Accuracy over strength, ${perturbation.name}${title}. Arrow keys read values.` });
          return element("figure", { "data-teacher": teacher }, title ? element("figcaption", {}, `teacher ${teacher}`) : null, svg);
        }));
      teachers.forEach((teacher, place) => draw(holder.children[place], perturbation, teacher, `${number}-${place}`));
    });
    symbols();
    dataTables();
  }

  function symbols() {
    const shown = data.curves.filter((curve) => state.modes.has(curve.mode) && state.architectures.has(curve.architecture)), grades = new Set(shown.flatMap((curve) => curve.grade));
    const gray = { color: "#777777", dark: "#999999", marker: "o", dashes: [] }, list = [];
    const put = (text, picture) => list.push(element("span", {}, shape("svg", { width: 18, height: 18, viewBox: "-9 -9 18 18", "aria-hidden": "true" }, ...picture), text));
    if (grades.has("suspect")) put("suspect", [markerOf(gray, "suspect", 0, 0)]);
    if (grades.has("unknown")) put("unknown", [markerOf(gray, "unknown", 0, 0)]);
    if (grades.has("reliable") || grades.has("n/a")) put("reliable or not graded", [markerOf(gray, "reliable", 0, 0)]);
    if (shown.some((curve) => curve.proven)) put("proven", [markerOf(gray, "reliable", 0, 0), shape("circle", { class: "ring", r: 7.5, stroke: "#888888", fill: "none" })]);
    if (shown.some((curve) => curve.certified)) put("neither attack nor certificate settles these images", [shape("path", { d: "M-7 7L7-7M-7 0L0-7M0 7L7 0", stroke: "#888888" })]);
    if (state.published) put("published curves", [shape("path", { d: "M-8 0H8", stroke: "#888888", "stroke-width": 1.5, "stroke-dasharray": "5 3" })]);
    key.replaceChildren(...list);
  }

  function dataTables() {
    for (const details of document.querySelectorAll("details.points")) {
      details.dataset.stale = "yes";
      if (details.open) fillTable(details);
    }
  }
  function fillTable(details) {
    if (details.dataset.stale !== "yes" || !state.touched) return;
    details.dataset.stale = "no";
    const perturbation = data.perturbations[Number(details.dataset.perturbation)];
    pointsTable(details, data, data.teachers.filter((teacher) => state.teachers.has(teacher)).flatMap((teacher) => data.curves.filter((curve) => shownIn(curve, teacher, perturbation.label)).map((curve) => [teacher, curve])));
  }

  const key = element("p", { class: "symbols" });
  const changed = (change) => (value) => { change(value); state.touched = true; charts(); };
  const controls = document.getElementById("controls");
  for (const perturbation of data.perturbations)
    perturbation.lacksZero = data.curves.some((curve) => curve.perturbation === perturbation.label && curve.beta[0] === 0) && perturbation.smallest > 0;
  const put = (condition, make) => { if (condition) controls.append(make()); };
  put(true, () => toggles("Modes", [...byName.keys()], (name) => state.modes.has(name), changed((name) => flip(state.modes, name)), (name) => sample(byName.get(name))));
  put(data.teachers.length > 1, () => menu("Teachers", data.teachers, (name) => state.teachers.has(name), changed((name) => flip(state.teachers, name)), String));
  put(data.architectures.length > 1, () => menu("Architectures", data.architectures, (name) => state.architectures.has(name), changed((name) => flip(state.architectures, name)), nameOf));
  put(data.learners && data.learners.length, () => menu("Single seeds", data.seeds, (seed) => state.seeds.has(seed), changed((seed) => flip(state.seeds, seed)), String));
  put(true, () => choice("Over", [["beta", "beta"], ["l2", "L2"], ["linf", "L∞"]], state.x, changed((value) => { state.x = value; })));
  put(true, () => choice("Scale", [["auto", "auto"], ["linear", "linear"], ["log", "log"]], state.scale, changed((value) => { state.scale = value; })));
  put(true, () => choice("Bands", [["pointwise", "each point"], ["simultaneous", "whole curve"], ["none", "none"]], state.bands, changed((value) => { state.bands = value; })));
  put(data.published.length, () => toggles("Overlay", ["published curves"], () => state.published, changed(() => { state.published = !state.published; })));
  controls.after(key);
  controls.hidden = false;
  document.querySelectorAll("details.points").forEach((details) => details.addEventListener("toggle", () => { if (details.open) fillTable(details); }));
  charts();
  let width = window.innerWidth;
  window.addEventListener("resize", () => { if (window.innerWidth !== width) { width = window.innerWidth; charts(); } });
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { charts(); controls.querySelectorAll(".toggle svg").forEach((svg, place) => { if (data.modes[place]) svg.replaceWith(sample(data.modes[place])); }); });
}
