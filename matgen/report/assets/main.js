// The page: from data to sections, and what follows from the reader's choices.

import { goToDetail } from "./detail.js";
import { el } from "./dom.js";
import { heading } from "./heading.js";
import { listenToKeys } from "./keys.js";
import { followChoice } from "./marks.js";
import { ordered } from "./order.js";
import { listenToPrint } from "./paper.js";
import { keepPlace } from "./reload.js";
import { candidates, report } from "./report_data.js";
import { sections } from "./sections.js";
import { change, restore, select, state, subscribe } from "./store.js";
import { summary } from "./summary.js";
import { topBar } from "./top_bar.js";

function order() {
  change({ shown: ordered(candidates, state).map(({ id }) => id) });
}

function followLinks() {
  document.getElementById("main").addEventListener("click", (event) => {
    const link = event.target.closest(".row-link, .card-link");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    select(link.dataset.id ?? link.closest("[data-id]").dataset.id);
    goToDetail();
  });
}

restore();
state.shown = ordered(candidates, state).map(({ id }) => id);
const made = sections();
topBar(made);
document.getElementById("main").replaceChildren(heading(), summary() ?? "", ...made.map(({ node }) => node));
document.getElementById("foot").append(
  el("p", {}, `Made by matgen${report.run?.version ? ` ${report.run.version}` : ""}. Figures by Observable Plot and D3, structures by 3Dmol.js; nothing on this page is loaded from elsewhere.`),
);
subscribe(["query", "verdict", "ranges", "sort"], order);
followChoice();
followLinks();
listenToKeys();
listenToPrint();
keepPlace();
performance.mark("report shown");
