// Runs before the first paint, so that a chosen theme never flashes the other one.
// The stylesheet follows the system unless the root element says otherwise.
(() => {
  const NAME = "bulkhead-theme";
  const root = document.documentElement;

  function chosen() {
    try {
      return localStorage.getItem(NAME) ?? "system";
    } catch {
      return "system"; // storage is switched off in this browser
    }
  }

  function apply(theme) {
    if (theme === "light" || theme === "dark") root.dataset.theme = theme;
    else delete root.dataset.theme;
  }

  function choose(theme) {
    apply(theme);
    try {
      if (theme === "system") localStorage.removeItem(NAME);
      else localStorage.setItem(NAME, theme);
    } catch {
      // The choice then holds until the page is left.
    }
  }

  apply(chosen());
  document.addEventListener("DOMContentLoaded", () => {
    const select = document.getElementById("theme");
    select.value = root.dataset.theme ?? "system";
    select.addEventListener("change", () => choose(select.value));
  });
})();
