// For print: every candidate that is shown, in full.

import { candidateDetail } from "./detail.js";
import { el } from "./dom.js";
import { drawWaiting, forPaper } from "./figure.js";
import { candidate } from "./report_data.js";
import { state } from "./store.js";

const MOST = 100;

function open() {
  if (document.getElementById("paper")) return;
  const shown = state.shown.slice(0, MOST).map(candidate).filter((one) => one.structure || one.verdicts?.length);
  const page = (one) => el("article", { class: "detail" }, candidateDetail(one, { still: true }).flat(Infinity).filter(Boolean));
  drawWaiting();
  const pages = forPaper(() => shown.map(page));
  for (const title of pages.map((page) => page.querySelector("#detail-title"))) title?.removeAttribute("id");
  const rest = state.shown.length - shown.length;
  document
    .getElementById("section-candidates")
    ?.append(el("div", { id: "paper" }, pages, rest > 0 ? el("p", { class: "quiet" }, `${rest} more are rows of the table only.`) : null));
}

function close() {
  document.getElementById("paper")?.remove();
}

export function listenToPrint() {
  window.addEventListener("beforeprint", open);
  window.addEventListener("afterprint", close);
}
