// A button that copies the text beside it.

import { announce, h } from "./dom.js";

/** Make a block of text with a button that copies it. */
export function copyable(text, label) {
  const code = h("code", {}, text);
  const button = h("button", { type: "button", class: "copy", click: copy }, "Copy");
  async function copy() {
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
      announce("Copied");
    } catch {
      // Browsers copy on secure origins only; elsewhere the reader does it with the keyboard.
      getSelection().selectAllChildren(code);
      button.textContent = "Selected: press Ctrl C";
      announce("Selected. Press Control C to copy.");
    }
  }
  return h(
    "div",
    { class: "snippet" },
    h("pre", { tabindex: "0", "aria-label": label }, code),
    button,
  );
}
