// Which version of each model serves now.

import { byId, el } from "./dom.js";

/** Rows that change only where something has, and words about what did. */
export class Models {
  #rows = new Map();

  update(models) {
    byId("models-section").hidden = models.length === 0;
    const news = [];
    for (const model of models) {
      const state = stateOf(model), serving = servingOf(model);
      const shown = JSON.stringify([state, model.versions]);
      const before = this.#rows.get(model.name);
      if (before?.shown === shown) continue;
      const row = before?.row ?? el("tr", { "data-model": model.name });
      const changed = before && before.serving !== serving && serving;
      row.replaceChildren(
        el("th", { scope: "row" }, model.name, el("small", {}, model.kind === "service" ? "service" : `${model.kind} of ${model.service}`)),
        el("td", {}, chips(model, changed)),
        el("td", {}, el("span", { class: "pill", "data-state": state.state }, state.state), state.reason && el("small", {}, state.reason)),
      );
      if (!before) byId("models").append(row);
      if (changed) news.push(`${model.name} now serves version ${serving}`);
      this.#rows.set(model.name, { row, shown, serving });
    }
    return news;
  }
}

export const servingOf = (model) => model.versions.filter((each) => each.state === "READY").map((each) => each.version).join(", ");

function stateOf(model) {
  const { state, reason } = model.health;
  if (state === "down" || state === "starting" || model.versions.length === 0) return { state: model.versions.length ? state : state === "serving" ? "unknown" : state, reason };
  return servingOf(model) ? { state, reason } : { state: "down", reason: reason || "no version is loaded" };
}

/** Versions that serve, and those that are on their way; not those that have gone. */
function chips(model, changed) {
  const shown = model.versions.filter((each) => each.state !== "UNAVAILABLE" || (each.reason && each.reason !== "unloaded"));
  if (!shown.length) return "–";
  return shown.map((each) =>
    each.state === "READY"
      ? el("span", { class: `chip serving${changed ? " fresh" : ""}` }, `v${each.version}`)
      : el("span", { class: "chip", title: each.reason }, `v${each.version} ${each.state.toLowerCase()}`));
}
