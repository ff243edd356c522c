// Parts of a section that load by themselves: one that fails says so and leaves the others alone.

import { h } from "./dom.js";
import { problemBox } from "./problems.js";

/**
 * Make a titled part that shows what `load` returns, or why it cannot. What fails later than that is
 * told to the function that `load` gets.
 */
export function panel(title, load) {
  const id = `panel-${title.toLowerCase().replaceAll(/[^a-z]+/g, "-")}`;
  const content = h("div", {}, waiting());
  const section = h(
    "section",
    { class: "card", "aria-labelledby": id, "aria-busy": "true" },
    h("h2", { id }, title),
    content,
  );
  fill(section, content, load);
  return section;
}

async function fill(section, content, load) {
  const failed = (error) => {
    if (error.name === "AbortError") return; // the reader went elsewhere
    content.replaceChildren(problemBox(error, () => retry(section, content, load)));
  };
  section.setAttribute("aria-busy", "true");
  try {
    content.replaceChildren(...[await load(failed)].flat());
  } catch (error) {
    failed(error);
  } finally {
    section.setAttribute("aria-busy", "false");
  }
}

function retry(section, content, load) {
  content.replaceChildren(waiting());
  fill(section, content, load);
}

function waiting() {
  return h("p", { class: "muted" }, "Loading …");
}

/** Make a list that grows page by page; `load(cursor)` returns a page, `show` makes one row. */
export async function pagedList({ load, show, empty, label }) {
  const list = h("ul", { class: "rows", "aria-label": label });
  const foot = h("div", {});
  async function more(cursor) {
    const page = await load(cursor);
    const rows = page.data.map(show);
    list.append(...rows);
    foot.replaceChildren(...(page.has_more ? [moreButton(() => continued(page.next_cursor))] : []));
    return rows;
  }
  async function continued(cursor) {
    try {
      const rows = await more(cursor);
      rows[0]?.querySelector("a, button")?.focus();
    } catch (error) {
      if (error.name !== "AbortError")
        foot.replaceChildren(problemBox(error, () => continued(cursor)));
    }
  }
  const first = await more(null);
  return first.length ? [list, foot] : [empty];
}

function moreButton(load) {
  const button = h("button", { type: "button", class: "more" }, "Show more");
  button.addEventListener("click", () => {
    button.disabled = true;
    load();
  });
  return button;
}
