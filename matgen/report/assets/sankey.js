// How many went from each stage to the next.

import { svg } from "./dom.js";
import { figure } from "./figure.js";
import { plural } from "./format.js";

const NODE = 10;

function isEnd(name) {
  return /^(rejected|not |failed)/i.test(name);
}

function layout(stages, width, height, labels) {
  const names = [...new Set(stages.flatMap(({ from, to }) => [from, to]))];
  return d3
    .sankey()
    .nodeId((node) => node.name)
    .nodeWidth(NODE)
    .nodePadding(16)
    .nodeAlign(d3.sankeyLeft)
    .nodeSort(null)
    .extent([[1, 8], [width - labels, height - 8]])({
    nodes: names.map((name) => ({ name })),
    links: stages.map(({ from, to, count }) => ({ source: from, target: to, value: count })),
  });
}

function drawn(stages, width) {
  const labels = Math.min(170, width * 0.3);
  const ends = new Set(stages.map(({ to }) => to)).size;
  const height = Math.max(200, 26 * ends + 40);
  const { nodes, links } = layout(stages, width, height, labels);
  const path = d3.sankeyLinkHorizontal();
  const crowded = width < 520;
  return svg(
    "svg",
    { class: "sankey", viewBox: `0 0 ${width} ${height}`, width, height },
    links.map((link) =>
      svg(
        "path",
        { d: path(link), class: isEnd(link.target.name) ? "flow flow-out" : "flow", "stroke-width": Math.max(1, link.width) },
        svg("title", {}, `${link.source.name} → ${link.target.name}: ${link.value}`),
      ),
    ),
    nodes.map((node) => {
      const tall = Math.max(1.5, node.y1 - node.y0);
      const last = !node.sourceLinks.length;
      const short = crowded && !last ? String(node.value) : `${node.name}  ${node.value}`;
      return svg(
        "g",
        {},
        svg("rect", { x: node.x0, y: node.y0, width: NODE, height: tall, rx: 2, class: isEnd(node.name) ? "stage stage-out" : "stage" }),
        svg("text", { x: node.x1 + 6, y: (node.y0 + node.y1) / 2, dy: "0.35em" }, short),
      );
    }),
  );
}

export function sankeyFigure(stages) {
  const flows = stages.filter(({ count, from, to }) => count > 0 && from !== to);
  if (!flows.length) return null;
  const inflow = new Set(flows.map(({ to }) => to));
  const start = flows.filter(({ from }) => !inflow.has(from));
  const all = start.reduce((sum, { count }) => sum + count, 0);
  return figure({
    title: "From stage to stage",
    label: `${all} at the start; ${flows.map(({ from, to, count }) => `${from} to ${to}: ${count}`).join("; ")}`,
    draw: (width) => drawn(flows, width),
    caption: `What became of ${plural(all, "structure")}. The width of a band is a count.`,
    table: () => ({ head: ["from", "to", "count"], rows: flows.map(({ from, to, count }) => [from, to, String(count)]) }),
  });
}
