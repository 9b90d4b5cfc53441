/* Elements. Texts are set as text, never as markup. */
const SVG = "http://www.w3.org/2000/svg";

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name.startsWith("aria-")) node.setAttribute(name, String(value));
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value);
  }
  for (const child of children) if (child !== null && child !== undefined) node.append(child);
  return node;
}
function element(tag, attributes, ...children) { return fill(document.createElement(tag), attributes, children); }
function shape(tag, attributes, ...children) { return fill(document.createElementNS(SVG, tag), attributes, children); }

/* Buttons of which each is on or off. */
function toggles(title, names, isOn, change, picture) {
  const group = element("fieldset", {}, element("legend", {}, title));
  for (const name of names) {
    const button = element("button", { type: "button", class: "toggle", "aria-pressed": isOn(name) }, picture ? picture(name) : null, name);
    button.addEventListener("click", () => { change(name); button.setAttribute("aria-pressed", isOn(name)); });
    group.append(button);
  }
  return group;
}

/* Buttons of which one is on: `choices` are pairs of a value and a text. */
function choice(title, choices, current, change) {
  const group = element("fieldset", { class: "choice" }, element("legend", {}, title));
  const buttons = choices.map(([value, text]) => {
    const button = element("button", { type: "button", class: "toggle", "aria-pressed": value === current }, text);
    button.addEventListener("click", () => {
      for (const other of buttons) other.setAttribute("aria-pressed", other === button);
      change(value);
    });
    return button;
  });
  group.append(...buttons);
  return group;
}

/* A list of check boxes that opens. */
function menu(title, names, isOn, change, textOf) {
  const summary = element("summary", {});
  const shown = () => {
    const on = names.filter(isOn);
    const what = on.length === 0 ? "none" : on.length === names.length && on.length > 1 ? "all" : on.length < 3 ? on.map(textOf).join(", ") : `${on.length} of ${names.length}`;
    summary.textContent = `${title}: ${what}`;
  };
  const list = element("div", { class: "list" });
  for (const name of names) {
    const box = element("input", { type: "checkbox", checked: isOn(name) });
    box.addEventListener("change", () => { change(name); shown(); });
    list.append(element("label", {}, box, textOf(name)));
  }
  shown();
  const node = element("details", { class: "menu" }, summary, list);
  node.addEventListener("keydown", (event) => { if (event.key === "Escape" && node.open) { node.open = false; summary.focus(); } });
  document.addEventListener("click", (event) => { if (!node.contains(event.target)) node.open = false; });
  return node;
}

function select(title, choices, current, change) {
  const list = element("select", {}, ...choices.map(([value, text]) => element("option", { value }, text)));
  list.value = current;
  list.addEventListener("change", () => change(list.value));
  return element("label", {}, title, list);
}

function flip(set, name) { if (!set.delete(name)) set.add(name); }
