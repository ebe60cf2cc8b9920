"use strict";
// In the head, so that the page is not drawn in the other theme first.
(() => {
  const root = document.documentElement;
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const now = () => root.dataset.theme || (dark.matches ? "dark" : "light");
  const name = (button) => {
    button.textContent = now() === "dark" ? "Light" : "Dark";
    button.setAttribute("aria-label", `Switch to the ${button.textContent.toLowerCase()} theme`);
  };
  try {
    const kept = localStorage.getItem("genjax-theme");
    if (kept === "dark" || kept === "light") root.dataset.theme = kept;
  } catch { /* no storage: the choice lasts as long as the page */ }
  document.addEventListener("DOMContentLoaded", () => {
    const button = document.getElementById("theme");
    name(button);
    dark.addEventListener("change", () => name(button));
    button.addEventListener("click", () => {
      root.dataset.theme = now() === "dark" ? "light" : "dark";
      try { localStorage.setItem("genjax-theme", root.dataset.theme); } catch { /* as above */ }
      name(button);
    });
  });
})();
