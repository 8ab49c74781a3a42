// A small panel that a button opens; Escape and a click elsewhere close it.

import { el } from "./dom.js";
import { icon } from "./icons.js";

export function popover({ label, picture, content }) {
  const panel = el("div", { class: "panel" });
  const details = el(
    "details",
    { class: "popover" },
    el("summary", { class: "button" }, icon(picture), el("span", {}, label)),
    panel,
  );
  details.addEventListener("toggle", () => {
    if (details.open) panel.replaceChildren(content());
  });
  details.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !details.open) return;
    details.open = false;
    details.querySelector("summary").focus();
  });
  document.addEventListener("click", (event) => {
    if (details.open && !event.composedPath().includes(details)) details.open = false;
  });
  return details;
}
