// Keys of the page. They can be turned off, for readers whose own tools use single letters.

import { el, remember, remembered } from "./dom.js";
import { change, select, state } from "./store.js";
import { nextTheme } from "./theme.js";

const KEY = "matgen report keys";

export function step(by) {
  const at = state.shown.indexOf(state.selected);
  const next = state.shown[Math.min(Math.max(at + by, 0), state.shown.length - 1)];
  if (next) select(next);
}

const ACTIONS = [
  ["j", "Next candidate", () => step(1)],
  ["k", "Previous candidate", () => step(-1)],
  ["/", "Search", () => document.getElementById("search")?.focus()],
  ["t", "Table", () => change({ view: "table" })],
  ["c", "Cards", () => change({ view: "cards" })],
  ["d", "Light, dark, automatic", nextTheme],
  ["?", "These keys", () => showKeys()],
];

const MORE = [
  ["↑ ↓", "Move in the list of candidates, and in a figure"],
  ["← → ↑ ↓", "Turn the structure, when it has the focus"],
  ["+ −", "Zoom the structure, when it has the focus"],
  ["Esc", "Close what is open"],
];

let dialog = null;

function allowed() {
  return remembered("localStorage", KEY) !== "off";
}

function row([key, text]) {
  return el("div", { class: "key-row" }, el("dt", {}, el("kbd", {}, key)), el("dd", {}, text));
}

function makeDialog() {
  const use = el("input", { type: "checkbox", id: "use-keys", checked: allowed() });
  use.addEventListener("change", () => remember("localStorage", KEY, use.checked ? "on" : "off"));
  return el(
    "dialog",
    { class: "keys", "aria-labelledby": "keys-title" },
    el("h2", { id: "keys-title" }, "Keys"),
    el("dl", {}, ACTIONS.map(row), MORE.map(row)),
    el("label", { class: "check" }, use, "Use keys of one letter"),
    el("form", { method: "dialog" }, el("button", { class: "button" }, "Close")),
  );
}

export function showKeys() {
  if (!dialog) document.body.append((dialog = makeDialog()));
  if (!dialog.open) dialog.showModal();
}

// A checkbox takes no letters; that of the dialog may still have the focus just after it was closed.
const TAKES_LETTERS = "input:not([type=checkbox], [type=radio]), select, textarea, [contenteditable]";

function typing(target) {
  return target instanceof Element && target.closest(TAKES_LETTERS) !== null;
}

export function listenToKeys() {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || typing(event.target) || document.querySelector("dialog[open]")) return;
    if (event.key !== "?" && !allowed()) return;
    const action = ACTIONS.find(([key]) => key === event.key);
    if (!action) return;
    event.preventDefault();
    action[2]();
  });
}
