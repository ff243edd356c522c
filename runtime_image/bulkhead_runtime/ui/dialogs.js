// Questions that are asked before something is lost.

import { h } from "./dom.js";

/** Ask in a modal dialog; resolves to whether the reader agreed. Escape means no. */
export function confirmed(title, text, action) {
  return new Promise((resolve) => {
    const agree = h(
      "button",
      { type: "button", class: "danger", click: () => dialog.close("yes") },
      action,
    );
    const leave = h(
      "button",
      { type: "button", autofocus: true, click: () => dialog.close("no") },
      "Keep it",
    );
    const dialog = h(
      "dialog",
      { "aria-labelledby": "question" },
      h("h2", { id: "question" }, title),
      h("p", {}, text),
      h("div", { class: "buttons" }, leave, agree),
    );
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "yes");
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}
