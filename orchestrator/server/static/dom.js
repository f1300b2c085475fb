// Elements without markup: whatever a text has in it stays text.

const SVG = "http://www.w3.org/2000/svg";

/** An element. `on...` are listeners; true and false set and leave out; everything else is an attribute. */
export function el(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

export function svg(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false && child !== ""));
  return element;
}

export const byId = (id) => document.getElementById(id);

let numbers = 0;
/** An id that nothing else on the page has. */
export const freshId = (word) => `${word}-${++numbers}`;

/** Sets a text only where it has changed, so that a screen reader does not read it again. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Buttons of which one is pressed. `choose` is called with its key. */
export function choice(label, options, chosen, choose) {
  const buttons = options.map(([key, text]) =>
    el("button", {
      type: "button",
      "aria-pressed": String(key === chosen),
      onclick: () => {
        for (const [other, button] of buttons.map((button, n) => [options[n][0], button])) {
          button.setAttribute("aria-pressed", String(other === key));
        }
        choose(key);
      },
    }, text),
  );
  return el("div", { class: "choice", role: "group", "aria-label": label }, buttons);
}

export function seconds(value) {
  if (value < 0.001) return `${(value * 1e6).toFixed(0)} µs`;
  if (value < 0.01) return `${(value * 1e3).toFixed(2)} ms`;
  if (value < 1) return `${(value * 1e3).toFixed(value < 0.1 ? 1 : 0)} ms`;
  return `${value.toFixed(value < 10 ? 2 : 1)} s`;
}

export function bytes(count) {
  if (count < 1024) return `${count} B`;
  const power = Math.min(3, Math.floor(Math.log2(count) / 10));
  return `${(count / 1024 ** power).toFixed(1)} ${["B", "KiB", "MiB", "GiB"][power]}`;
}

export function duration(value) {
  const days = Math.floor(value / 86400), hours = Math.floor(value / 3600) % 24, minutes = Math.floor(value / 60) % 60;
  if (days) return `${days} d ${hours} h`;
  if (hours) return `${hours} h ${minutes} min`;
  return minutes ? `${minutes} min ${Math.floor(value % 60)} s` : `${Math.floor(value)} s`;
}
