// How many went from each stage to the next.

import { svg } from "./dom.js";
import { figure } from "./figure.js";
import { plural } from "./format.js";

const NODE = 10;
const NARROW = 640; // px
const LINE = 14; // px

function isEnd(name) {
  return /^(rejected|not |failed|left )/i.test(name);
}

// Ends stand at the right margin, where their names have room.
function layout(stages, width, height, margin, padding) {
  const names = [...new Set(stages.flatMap(({ from, to }) => [from, to]))];
  return d3
    .sankey()
    .nodeId((node) => node.name)
    .nodeWidth(NODE)
    .nodePadding(padding)
    .nodeAlign(d3.sankeyJustify)
    .extent([[1, 24], [width - margin, height - 8]])({
    nodes: names.map((name) => ({ name })),
    links: stages.map(({ from, to, count }) => ({ source: from, target: to, value: count })),
  });
}

// Words in lines of at most so many letters.
export function lines(text, most) {
  return text.split(" ").reduce((found, word) => {
    const last = found.at(-1);
    if (last !== undefined && `${last} ${word}`.length <= most) return [...found.slice(0, -1), `${last} ${word}`];
    return [...found, word];
  }, []);
}

function endLabel(node, letters) {
  const text = lines(`${node.name} ${node.value}`, letters);
  const top = (node.y0 + node.y1) / 2 - ((text.length - 1) * LINE) / 2;
  return svg("text", {}, text.map((line, i) => svg("tspan", { x: node.x1 + 6, y: top + i * LINE, dy: "0.35em" }, line)));
}

// Above its bar, so that it does not lie on what flows out of it.
function stageLabel(node, narrow) {
  const text = narrow ? String(node.value) : `${node.name} ${node.value}`;
  const first = node.x0 < 2 * NODE;
  return svg("text", { x: first ? node.x0 : (node.x0 + node.x1) / 2, y: node.y0 - 7, "text-anchor": first ? "start" : "middle" }, text);
}

function drawn(stages, width) {
  const narrow = width < NARROW;
  const margin = narrow ? 150 : 270;
  const ends = new Set(stages.map(({ to }) => to)).size;
  const padding = narrow ? 34 : 24;
  const height = 120 + (padding + 8) * ends;
  const { nodes, links } = layout(stages, width, height, margin, padding);
  const path = d3.sankeyLinkHorizontal();
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
      const bar = { x: node.x0, y: node.y0, width: NODE, height: tall, rx: 2, class: isEnd(node.name) ? "stage stage-out" : "stage" };
      return svg("g", {}, svg("rect", bar), node.sourceLinks.length ? stageLabel(node, narrow) : endLabel(node, narrow ? 22 : 46));
    }),
  );
}

function flowing(stages) {
  return stages.filter(({ count, from, to }) => count > 0 && from !== to);
}

// How many there were before the first stage.
export function atStart(stages) {
  const flows = flowing(stages);
  const inflow = new Set(flows.map(({ to }) => to));
  return flows.filter(({ from }) => !inflow.has(from)).reduce((sum, { count }) => sum + count, 0);
}

export function sankeyFigure(stages) {
  const flows = flowing(stages);
  if (!flows.length) return null;
  const all = atStart(flows);
  return figure({
    title: "From stage to stage",
    label: `${all} at the start; ${flows.map(({ from, to, count }) => `${from} to ${to}: ${count}`).join("; ")}`,
    draw: (width) => drawn(flows, width),
    caption: `What became of ${plural(all, "structure")}. The width of a band is a count.`,
    table: () => ({ head: ["from", "to", "count"], rows: flows.map(({ from, to, count }) => [from, to, String(count)]) }),
    wide: true,
  });
}
