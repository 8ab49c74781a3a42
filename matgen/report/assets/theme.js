// Light, dark, or as the system has it.

import { announce, el, remember, remembered } from "./dom.js";
import { icon } from "./icons.js";

const KEY = "matgen report theme";
const NEXT = { system: "dark", dark: "light", light: "system" };
const listeners = [];
let chosen = "system";

function apply(theme) {
  chosen = theme;
  if (theme === "system") document.documentElement.removeAttribute("data-theme");
  else document.documentElement.setAttribute("data-theme", theme);
  for (const act of listeners) act();
}

export function onTheme(act) {
  listeners.push(act);
}

export function nextTheme() {
  apply(NEXT[chosen]);
  remember("localStorage", KEY, chosen);
  announce(`Theme: ${chosen}`);
}

export function themeButton() {
  const label = el("span", { class: "wide-only" }, "");
  const button = el("button", { type: "button", class: "quiet-button", id: "theme", on: { click: nextTheme } }, icon("theme"), label);
  const name = () => {
    label.textContent = { system: "Auto", dark: "Dark", light: "Light" }[chosen];
    button.setAttribute("aria-label", `Theme: ${chosen}. Change`);
  };
  onTheme(name);
  const kept = remembered("localStorage", KEY);
  apply(kept in NEXT ? kept : "system");
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => apply(chosen));
  return button;
}
