// The one way in which this page makes elements. What comes from outside becomes text and nothing
// else: there is no way from here to innerHTML, and the page's policy forbids it besides.

/**
 * Make an element. Attributes that are functions listen to the event of their name; true sets an
 * attribute without a value; null, undefined and false leave it out. Children are nodes or text.
 */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== null && value !== undefined && value !== false)
      element.setAttribute(name, value);
  }
  element.append(
    ...children.flat(2).filter((child) => child !== null && child !== undefined && child !== ""),
  );
  return element;
}

const SVG = "http://www.w3.org/2000/svg";

/** Make an element of a drawing. */
export function drawn(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** Tell a screen reader something that is seen elsewhere on the page. */
export function announce(text) {
  document.getElementById("said").textContent = text;
}

/** Make a small label; `kind` is ok, warn, bad or empty. */
export function badge(text, kind = "") {
  return h("span", { class: `badge ${kind}` }, text);
}

/** Make a labelled figure. */
export function tile(label, value, note = "") {
  return h(
    "div",
    { class: "tile" },
    h("dt", {}, label),
    h("dd", {}, value),
    note && h("dd", { class: "muted" }, note),
  );
}

/** Make a description list of pairs; pairs without a value are left out. */
export function facts(...pairs) {
  const shown = pairs.filter(([, value]) => value !== null && value !== undefined && value !== "");
  return h(
    "dl",
    { class: "facts" },
    ...shown.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))),
  );
}

/** Make a table that scrolls by itself where it is wider than the screen. */
export function table(caption, heads, rows) {
  const head = h(
    "tr",
    {},
    ...heads.map(([text, kind]) => h("th", { scope: "col", class: kind }, text)),
  );
  const body = rows.map((cells) =>
    h(
      "tr",
      {},
      ...cells.map((cell, at) =>
        h(at ? "td" : "th", { scope: at ? null : "row", class: heads[at][1] }, cell),
      ),
    ),
  );
  return h(
    "div",
    { class: "scrolls", role: "region", tabindex: "0", "aria-label": caption },
    h(
      "table",
      {},
      h("caption", { class: "unseen" }, caption),
      h("thead", {}, head),
      h("tbody", {}, ...body),
    ),
  );
}

/** Make the heading of a section, on which focus lands when it opens. */
export function heading(text, ...beside) {
  return h("div", { class: "heading" }, h("h1", { tabindex: "-1" }, text), ...beside);
}

/** Make what stands where a list is empty. */
export function nothing(...text) {
  return h("p", { class: "nothing muted" }, ...text);
}
