// The page: reads what the service is once, and how it is once a second while somebody looks.

import { apiCard } from "./api.js";
import { Charts } from "./charts.js";
import { byId, duration, el, seconds, setText } from "./dom.js";
import { drawGraph } from "./graph.js";
import { Models, servingOf } from "./models.js";
import { Rates } from "./rates.js";
import { read, Refused, Unreadable, urlOf, useToken } from "./server.js";

const EVERY_MS = 1000;
const AFTER_FAILURE_MS = 2000;

const rates = new Rates();
const models = new Models();
let charts = null, colour = null, cards = null, document_ = null, timer = 0, waits = false;

function showService(status) {
  const own = status.services.find((each) => each.root);
  document.title = `${status.service} · status`;
  setText(byId("name"), status.service);
  setText(byId("doc"), own.doc);
  colour = drawGraph(status.services);
  if (status.counters) charts = new Charts();
  else byId("charts").remove();
  byId("metrics-link").hidden = !status.counters;
}

function showStatus(status) {
  if (!colour) showService(status);
  const pill = byId("health");
  pill.dataset.state = status.health.state;
  setText(pill, status.health.reason ? `${status.health.state}: ${status.health.reason}` : status.health.state);
  setText(byId("facts"), `up ${duration(status.uptime_s)} · orchestrator ${status.release}`);
  const own = status.models.find((model) => model.name === status.service && model.kind === "service");
  const version = own ? servingOf(own) : "";
  byId("version").hidden = !version;
  setText(byId("version"), `v${version}`);
  const news = models.update(status.models);
  if (news.length) setText(byId("news"), news.join(". "));
  colour(status.models);
  if (!status.counters) return;
  const sample = rates.add(status);
  if (!sample) return;
  charts.add(sample);
  for (const [name, api] of Object.entries(sample.apis)) {
    cards?.get(name)?.rate(api.requests ? `${api.requests.toFixed(1)}/s${api.p99 === null ? "" : ` · p99 ${seconds(api.p99)}`}` : "");
  }
}

/** The cards, once both documents are there. */
function showApis(status) {
  const own = status.services.find((each) => each.root);
  cards = new Map();
  for (const facts of own.apis) {
    const operation = document_.paths?.[facts.route]?.post;
    if (operation) cards.set(facts.name, apiCard({ route: facts.route, operation, root: document_, facts }));
  }
  const elements = [...cards.values()].map((card) => card.element);
  byId("apis").replaceChildren(...elements);
  const wanted = elements.find((element) => element.dataset.route === `/${decodeURIComponent(location.hash.slice(1))}`);
  (wanted ?? (elements.length <= 3 ? elements[0] : null))?.setAttribute("open", "");
  wanted?.scrollIntoView();
}

async function poll() {
  clearTimeout(timer);
  if (waits) return;
  waits = true;
  let again = EVERY_MS;
  try {
    const status = await read("status.json");
    document_ ??= await read("openapi.json");
    showStatus(status);
    if (!cards) showApis(status);
    notice("");
  } catch (error) {
    again = AFTER_FAILURE_MS;
    failed(error);
  } finally {
    waits = false;
  }
  if (!document.hidden) timer = setTimeout(poll, again);
}

function failed(error) {
  const pill = byId("health");
  pill.dataset.state = "unknown";
  setText(pill, "unknown");
  if (error instanceof Refused) {
    byId("access").open = true;
    notice(error.message);
    return;
  }
  notice(`${error.message} The page goes on trying.`);
  if (!(error instanceof Unreadable)) console.error(error);
}

function notice(text) {
  byId("notice").hidden = !text;
  setText(byId("notice"), text);
}

byId("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  useToken(byId("token").value);
  byId("access").open = false;
  poll();
});
document.addEventListener("visibilitychange", () => { if (!document.hidden) poll(); });
document.body.prepend(el("a", { class: "skip", href: `${location.pathname}#apis`, onclick: () => byId("apis").querySelector("summary")?.focus() }, "To the APIs"));
for (const link of document.querySelectorAll("nav a")) link.href = urlOf(link.getAttribute("href"));
poll();
