/* Sorting, the data behind the charts, the filter of the forest plot, the classes. */
function sortValue(cell) {
  const text = cell.dataset.sort !== undefined ? cell.dataset.sort : cell.textContent.trim().replace("−", "-");
  if (text === "") return null;
  const number = text === "inf" ? Infinity : Number.parseFloat(text);
  return /^[+-]?[\d.]/.test(text) || text === "inf" ? number : text.toLowerCase();
}
function compareValues(one, other) {
  if (one === null || other === null) return one === other ? 0 : one === null ? 1 : -1;
  if (typeof one === "number" && typeof other === "number") return one - other;
  return String(one).localeCompare(String(other), undefined, { numeric: true });
}
function makeSortable(table) {
  const headers = [...table.tHead.rows[0].cells];
  headers.forEach((header, column) => {
    if (header.dataset.fixed !== undefined || header.querySelector("button")) return;
    const button = element("button", { type: "button" });
    button.append(...header.childNodes);
    header.append(button);
    button.addEventListener("click", () => {
      const descending = header.getAttribute("aria-sort") === "ascending";
      for (const other of headers) other.removeAttribute("aria-sort");
      header.setAttribute("aria-sort", descending ? "descending" : "ascending");
      const rows = [...table.tBodies[0].rows].map((row) => [sortValue(row.cells[column]), row]);
      rows.sort(([one], [other]) => (one === null || other === null ? compareValues(one, other) : (descending ? -1 : 1) * compareValues(one, other)));
      table.tBodies[0].append(...rows.map(([, row]) => row));
    });
  });
}

function simpleTable(caption, columns, rows, heads, kind) {
  const head = element("tr", {}, ...columns.map(([name, numeric]) => element("th", { scope: "col", class: numeric ? "n" : null }, name)));
  const body = rows.map((row) => element("tr", {}, ...row.map((value, place) => {
    const text = String(value), found = /^(\S+) (\[.*\])$/.exec(text), attributes = { class: columns[place][1] ? "n" : null };
    if (place < heads) attributes.scope = "row";
    return element(place < heads ? "th" : "td", attributes, found ? found[1] : text, found ? element("small", {}, ` ${found[2]}`) : null);
  })));
  const table = element("table", { class: kind ? `sortable ${kind}` : "sortable" }, element("caption", {}, caption), element("thead", {}, head), element("tbody", {}, ...body));
  makeSortable(table);
  return table;
}

function pointsTable(details, data, curves) {
  const of = (curve, column, place) => (curve[column] ? curve[column][place] : null);
  const names = [["teacher", data.teachers.length > 1], ["architecture", data.architectures.length > 1], ["mode", true]].filter(([, shown]) => shown).map(([name]) => name);
  const columns = [...names.map((name) => [name, false]), ["beta", true], ["accuracy", true], ["simultaneous band", true], ["learners", true], ["grade", false], ["certified", true], ["L2, all images", true], ["L2, fooled images", true], ["L-infinity, all images", true], ["L-infinity, fooled images", true]];
  const rows = curves.flatMap(([teacher, curve]) => curve.beta.map((beta, place) => [
    ...names.map((name) => (name === "teacher" ? teacher : curve[name])), strength(beta),
    `${share(of(curve, "accuracy", place))} ${bracket(of(curve, "low", place), of(curve, "high", place))}`.trim(), bracket(of(curve, "bandLow", place), of(curve, "bandHigh", place)),
    curve.seeds[place], curve.grade[place], share(of(curve, "certified", place)), distance(of(curve, "l2", place)), distance(of(curve, "fooledL2", place)), distance(of(curve, "linf", place)), distance(of(curve, "fooledLinf", place)),
  ]));
  const filled = columns.map((_, place) => place < names.length || rows.some((row) => row[place] !== ""));
  const keep = (row) => row.filter((_, place) => filled[place]);
  details.querySelector(".scroll").replaceChildren(simpleTable("The points that are switched on", keep(columns), rows.map(keep), names.length));
}

function forestFilter(data) {
  const holder = document.getElementById("forest-filter"), rows = [...document.querySelectorAll(".forest tbody tr")];
  const names = [...new Set(rows.map((row) => row.dataset.perturbation))];
  if (!holder || names.length < 2) return;
  holder.append(select("Perturbation", [["", "all"], ...names.map((name) => [name, name])], "", (value) => {
    for (const row of rows) row.hidden = value !== "" && row.dataset.perturbation !== value;
  }));
  holder.hidden = false;
}

function classTables(data) {
  const holder = document.getElementById("class-controls"), place = document.getElementById("class-table");
  if (!data.classes || !holder) return;
  const labels = data.perturbations.filter((each) => data.classes.rows.some((row) => row.perturbation === each.label));
  const state = { label: labels[0].label, beta: null };
  const strengths = () => [...new Set(data.classes.rows.filter((row) => row.perturbation === state.label).map((row) => row.beta))].sort((one, other) => one - other);
  const draw = () => {
    const betas = strengths();
    if (!betas.includes(state.beta)) state.beta = betas[Math.floor(betas.length / 2)];
    const rows = data.classes.rows.filter((row) => row.perturbation === state.label && row.beta === state.beta);
    const names = [["teacher", data.teachers.length > 1], ["architecture", new Set(rows.map((row) => row.architecture)).size > 1], ["mode", true]].filter(([, shown]) => shown).map(([name]) => name);
    const table = simpleTable("Accuracy on the images of each class", [...names.map((name) => [name, false]), ...data.classes.classes.map((name) => [name, true])], rows.map((row) => [...names.map((name) => row[name]), ...row.accuracy.map(share)]), names.length, "heat");
    for (const row of table.tBodies[0].rows) for (const cell of row.querySelectorAll("td")) if (cell.textContent) cell.style.background = `color-mix(in srgb, var(--accent) ${Math.round(24 * (1 - Number(cell.textContent)))}%, transparent)`;
    place.querySelector(".scroll").replaceChildren(table);
    holder.replaceChildren(
      select("Perturbation", labels.map((each) => [each.label, each.name]), state.label, (value) => { state.label = value; state.beta = null; draw(); }),
      select("Strength", betas.map((beta) => [String(beta), strength(beta)]), String(state.beta), (value) => { state.beta = Number(value); draw(); }));
  };
  draw();
  holder.hidden = false;
}
