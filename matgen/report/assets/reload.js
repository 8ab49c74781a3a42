// A page that reloads itself while a run works comes back to where the reader was.

import { remember, remembered } from "./dom.js";

const KEY = `matgen report scroll: ${location.pathname}`;

export function keepPlace() {
  if (!document.querySelector('meta[http-equiv="refresh"]')) return;
  const kept = Number(remembered("sessionStorage", KEY));
  if (kept) window.scrollTo(0, kept);
  window.addEventListener("pagehide", () => remember("sessionStorage", KEY, String(window.scrollY)));
}
