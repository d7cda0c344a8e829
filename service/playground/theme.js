// Light or dark, as the system has it until a choice was made here. Loaded before the page is
// painted, so that it does not flash; wired to its button by main.js.
"use strict";
{
  try {
    const chosen = localStorage.getItem("mindalle.theme");
    if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
  } catch {
    // Storage is forbidden: as the system has it.
  }
}
