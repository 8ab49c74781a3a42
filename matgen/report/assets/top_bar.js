// The bar at the top: where one is, and what can be done with the page.

import { el } from "./dom.js";
import { icon } from "./icons.js";
import { showKeys } from "./keys.js";
import { report } from "./report_data.js";
import { themeButton } from "./theme.js";

export function topBar(sections) {
  document.getElementById("top").append(
    el("a", { class: "wordmark", href: "#main" }, "matgen"),
    el(
      "nav",
      { "aria-label": "Sections" },
      sections.map(({ id, short }) => el("a", { href: `#${id}` }, short)),
    ),
    el(
      "div",
      { class: "bar-buttons no-print" },
      themeButton(),
      el(
        "button",
        { type: "button", class: "quiet-button wide-only", "aria-label": "Print", on: { click: () => window.print() } },
        icon("print"),
        "Print",
      ),
      el("button", { type: "button", class: "quiet-button", "aria-label": "Keys", on: { click: showKeys } }, el("kbd", {}, "?")),
    ),
  );
  document.title = report.title ?? "matgen report";
}
