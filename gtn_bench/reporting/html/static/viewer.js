/* The viewer of samples: clean, perturbed, amplified difference. */
function sampleViewer(data) {
  const root = document.getElementById("viewer"), names = new Map(data.perturbations.map((each) => [each.label, each.name])), order = [...names.keys()];
  const entries = data.viewer.filter((entry) => entry.png).sort((one, other) => order.indexOf(one.perturbation) - order.indexOf(other.perturbation));
  if (!root || !entries.length) return;
  const state = { entry: entries[0], place: 0, cls: "", outcome: "all" };
  const body = element("div", {}), controls = element("div", { class: "controls" }), caption = element("p", { class: "lead" });

  function tile(column, row, text) {
    const { width, height, columns } = state.entry, side = 84 / Math.max(width, height);
    const node = element("span", { class: "tile", role: "img", "aria-label": text });
    node.style.width = `${width * side}px`;
    node.style.height = `${height * side}px`;
    node.style.backgroundImage = `url(data:image/png;base64,${state.entry.png})`;
    node.style.backgroundSize = `${columns * width * side}px auto`;
    node.style.backgroundPosition = `${-column * width * side}px ${-row * height * side}px`;
    return node;
  }
  function outcomeOf(strengthEntry, column) {
    if (!strengthEntry.after) return "unknown";
    const truth = state.entry.labels[column];
    if (strengthEntry.before[column] !== truth) return "wrong before";
    return strengthEntry.after[column] === truth ? "survived" : "broken";
  }
  const betas = () => [...new Set(state.entry.modes.flatMap((mode) => mode.strengths.map((each) => each.beta)))].sort((one, other) => one - other);

  function draw() {
    const beta = betas()[state.place], rows = [];
    for (let column = 0; column < state.entry.columns; column++) {
      const truth = state.entry.labels[column];
      if (state.cls !== "" && truth !== state.cls) continue;
      const figures = [];
      for (const mode of state.entry.modes) {
        const found = mode.strengths.find((each) => each.beta === beta);
        if (!found) continue;
        const outcome = outcomeOf(found, column);
        if (state.outcome !== "all" && outcome !== state.outcome) continue;
        const sure = found.confidence ? ` (${found.confidence[column]})` : "";
        const said = found.after ? `predicted ${found.after[column]}${sure}` : "prediction not stored";
        const text = `${mode.mode}: ${said}`;
        const note = outcome === "unknown" ? null : element("span", { class: outcome }, { broken: "✗ broken", survived: "✓ survived", "wrong before": `wrong before (${found.before && found.before[column]})` }[outcome]);
        figures.push(element("figure", {}, element("div", { class: "tiles" }, tile(column, found.row, `perturbed, ${text}`), tile(column, found.row + 1, "amplified difference")),
          element("figcaption", {}, mode.mode, element("br"), said, element("br"), note)));
      }
      if (figures.length) rows.push(element("div", { class: "sample" }, element("figure", {}, element("div", { class: "tiles" }, tile(column, 0, "clean image")), element("figcaption", {}, "clean", element("br"), known(truth) ? `class ${truth}` : "class not stored")), ...figures));
    }
    body.replaceChildren(...(rows.length ? rows : [element("p", {}, "No sample matches the filters.")]));
    const confident = state.entry.modes.some((mode) => mode.strengths.some((each) => each.confidence));
    const reduced = state.entry.reduced ? " Images are shown at a reduced size." : "";
    caption.textContent = `Beta ${strength(beta)}. Left: perturbed image; right: difference from the clean image, times ${strength(state.entry.amplified)}, gray where nothing changed. ${confident ? "In parentheses: softmax probability of the predicted class." : "The run has no confidences."}${reduced}`;
  }
  function build() {
    const classes = [...new Set(state.entry.labels)], strengths = betas();
    state.place = Math.min(state.place, strengths.length - 1);
    const output = element("output", {}, strength(strengths[state.place]));
    const range = element("input", { type: "range", min: 0, max: strengths.length - 1, step: 1, "aria-valuetext": strength(strengths[state.place]) });
    range.value = state.place;
    range.addEventListener("input", () => { state.place = Number(range.value); output.textContent = strength(strengths[state.place]); range.setAttribute("aria-valuetext", output.textContent); draw(); });
    const outcomes = [["all", "all"], ["broken", "broken"], ["survived", "survived"], ["wrong before", "wrong before"]];
    controls.replaceChildren(
      select("Perturbation", entries.map((entry, place) => [String(place), names.get(entry.perturbation) || entry.perturbation]), String(entries.indexOf(state.entry)), (value) => { state.entry = entries[Number(value)]; state.place = Math.floor(betas().length / 2); state.cls = ""; build(); }),
      element("label", {}, "Beta", range, output),
      classes.length > 1 ? select("Class", [["", "all"], ...classes.map((name) => [name, name])], state.cls, (value) => { state.cls = value; draw(); }) : "",
      state.entry.labels.length ? choice("Show", outcomes, state.outcome, (value) => { state.outcome = value; draw(); }) : "");
    draw();
  }
  root.append(controls, caption, body);
  if (entries.length < data.viewer.length) root.append(element("p", {}, `The images of ${data.viewer.length - entries.length} perturbations would make this page too large; examples.safetensors has them.`));
  state.place = Math.floor(betas().length / 2);
  build();
  root.hidden = false;
}
