// A drawing of the services: who calls whom, and where each runs.

import { byId, el, svg } from "./dom.js";

const WIDTH = 142, HEIGHT = 46, ACROSS = 42, DOWN = 14;
export const PLACES = { triton: "in Triton", frontend: "on the front-end", command: "a process of its own" };

/** Draws it once, and gives a function that colours the nodes by the health of their models. */
export function drawGraph(services) {
  const nodes = nodesOf(services);
  const columns = [];
  for (const node of nodes.values()) (columns[depthOf(node, nodes)] ??= []).push(node);
  const tallest = Math.max(...columns.map((column) => column.length));
  columns.forEach((column, depth) => column.forEach((node, row) => {
    node.x = 8 + depth * (WIDTH + ACROSS);
    node.y = 8 + (row + (tallest - column.length) / 2) * (HEIGHT + DOWN);
  }));
  const wide = 16 + columns.length * (WIDTH + ACROSS) - ACROSS, high = 16 + tallest * (HEIGHT + DOWN) - DOWN;
  const picture = svg("svg", { class: wide > 416 ? "graph broad" : "graph", width: wide, height: high, viewBox: `0 0 ${wide} ${high}`, role: "img", "aria-label": "Graph of the services; the list below has the same" },
    svg("defs", {}, svg("marker", { id: "arrow", viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 7, markerHeight: 7, orient: "auto" }, svg("path", { d: "M0 0 8 4 0 8z" }))),
    [...nodes.values()].flatMap((from) => from.to.map((key) => edge(from, nodes.get(key)))),
    [...nodes.values()].map(drawnNode),
  );
  byId("graph").replaceChildren(picture);
  byId("services").replaceChildren(...services.map(words));
  return (models) => {
    for (const model of models) {
      for (const key of [`service ${model.name}`, `model ${model.name}`]) nodes.get(key)?.dot?.setAttribute("data-state", model.health.state);
    }
  };
}

function nodesOf(services) {
  const nodes = new Map();
  for (const each of services) {
    const workers = each.placement === "triton" && each.workers > 1 ? ` × ${each.workers}` : "";
    nodes.set(`service ${each.name}`, { title: each.name, words: PLACES[each.placement] + workers, kind: each.placement, to: [] });
  }
  for (const each of services) {
    const node = nodes.get(`service ${each.name}`);
    for (const call of each.calls) {
      const key = call.service ? `service ${call.service}` : `url ${call.url}`;
      if (!nodes.has(key)) nodes.set(key, { title: call.service ?? call.url, words: "elsewhere", kind: "elsewhere", to: [] });
      if (!node.to.includes(key)) node.to.push(key);
    }
    for (const model of each.models) {
      const key = `model ${model.name}`;
      if (!nodes.has(key)) nodes.set(key, { title: model.name, words: "model", kind: "model", to: [] });
      if (!node.to.includes(key)) node.to.push(key);
    }
  }
  return nodes;
}

/** The longest way from a service that nothing calls; a graph has no cycles. */
function depthOf(node, nodes) {
  node.depth ??= Math.max(-1, ...[...nodes.values()].filter((other) => other !== node && other.to.some((key) => nodes.get(key) === node)).map((other) => depthOf(other, nodes))) + 1;
  return node.depth;
}

function edge(from, to) {
  const x1 = from.x + WIDTH, y1 = from.y + HEIGHT / 2, x2 = to.x - 2, y2 = to.y + HEIGHT / 2, bend = (x2 - x1) / 2;
  return svg("path", { class: "edge", d: `M${x1} ${y1}C${x1 + bend} ${y1} ${x2 - bend} ${y2} ${x2} ${y2}`, "marker-end": "url(#arrow)" });
}

function drawnNode(node) {
  const known = node.kind === "triton" || node.kind === "model";
  node.dot = known ? svg("circle", { class: "dot", cx: node.x + WIDTH - 14, cy: node.y + 15, r: 4 }) : null;
  return svg("g", { class: `node ${node.kind}` },
    svg("title", {}, `${node.title}: ${node.words}`),
    svg("rect", { x: node.x, y: node.y, width: WIDTH, height: HEIGHT, rx: 8 }),
    svg("text", { x: node.x + 12, y: node.y + 20, class: "node-title" }, short(node.title, known ? 14 : 16)),
    svg("text", { x: node.x + 12, y: node.y + 36, class: "node-words" }, node.words),
    node.dot,
  );
}

const short = (text, most) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);

/** The same in words. */
function words(service) {
  const calls = [...service.calls.map((call) => call.service ?? call.url), ...service.models.map((model) => model.name)];
  return el("li", {},
    el("strong", {}, service.name), ` runs ${PLACES[service.placement]}`,
    calls.length > 0 && ` and calls ${[...new Set(calls)].join(", ")}`,
    service.root ? ". " : `. Its APIs: ${service.apis.map((api) => api.name).join(", ")}. `,
    !service.root && service.doc && el("span", { class: "words" }, service.doc.split("\n")[0]),
  );
}
