// One field of a form each: an element, and its value as JSON text (numbers stay as they were typed, however long) or files.

import { bytes, el, freshId } from "./dom.js";
import { exampleOf, kindOf, resolved, wordsOf } from "./schema.js";

const NUMBER = /^-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?$/;

/**
 * A field for one argument.
 *
 * `json()` is the value as JSON text, or null to leave it out; it throws where what is typed is not JSON. A field of kind
 * file or files has `files()` instead. `text()` is a text's own content, for a part of a form.
 */
export function fieldOf({ name, given, root, required, example, accept, changed }) {
  const { schema, nullable } = resolved(given, root);
  const kind = kindOf(schema);
  const id = freshId("field");
  const initial = example !== undefined ? example : "default" in schema ? schema.default : undefined;
  const control = CONTROLS[kind]({ id, schema, root, required, initial, accept, nullable, changed });
  const error = el("p", { id: `${id}-error`, class: "field-error" });
  const words = wordsOf(schema, kind, !required && initial === undefined);
  const input = control.input;
  input.setAttribute("aria-describedby", `${id}-words ${id}-error`);
  if (required) input.setAttribute("aria-required", "true");
  const element = el("div", { class: `field field-${kind}`, "data-field": name },
    el("label", { for: id }, name, required && el("span", { class: "required", "aria-hidden": "true" }, " *")),
    control.element ?? input,
    el("p", { id: `${id}-words`, class: "words" }, [schema.description, words].filter(Boolean).join(" · ")),
    error,
  );
  return {
    name, kind, element,
    json: control.json, text: control.text, files: control.files,
    fail(message) {
      error.textContent = message;
      input.toggleAttribute("data-invalid", Boolean(message));
      if (message) input.setAttribute("aria-invalid", "true");
      else input.removeAttribute("aria-invalid");
    },
    focus: () => input.focus(),
  };
}

/** The JSON text of a value that is left out where it is what the method would take by itself. */
const unless = (required, same, text) => (!required && same ? null : text);

const CONTROLS = {
  text({ id, schema, required, initial, changed }) {
    const start = typeof initial === "string" ? initial : "";
    const rows = start.length > 80 || start.includes("\n") ? 4 : 1;
    const input = el("textarea", { id, rows, spellcheck: "false", oninput: changed });
    input.value = start;
    const text = () => unless(required, input.value === start, input.value);
    return { input, text, json: () => (text() === null ? null : JSON.stringify(input.value)) };
  },

  integer: numeric,
  number: numeric,

  boolean({ id, required, initial, nullable, changed }) {
    if (nullable) {
      const options = [["", "left out"], ["true", "true"], ["false", "false"]].map(([value, text]) => el("option", { value }, text));
      const input = el("select", { id, onchange: changed }, options);
      input.value = typeof initial === "boolean" ? String(initial) : "";
      return { input, json: () => input.value || null };
    }
    const input = el("input", { id, type: "checkbox", checked: initial === true, onchange: changed });
    return { input, json: () => unless(required, input.checked === (initial === true), String(input.checked)) };
  },

  choice({ id, schema, required, initial, changed }) {
    const values = schema.enum ?? [schema.const];
    const options = values.map((value, n) => el("option", { value: n }, typeof value === "string" ? value : JSON.stringify(value)));
    const start = values.findIndex((value) => JSON.stringify(value) === JSON.stringify(initial));
    const open = !required && start < 0;
    const input = el("select", { id, onchange: changed }, open && el("option", { value: "" }, "left out"), options);
    input.value = start >= 0 ? String(start) : open ? "" : "0";
    const json = () => (input.value === "" ? null : unless(required, Number(input.value) === start, JSON.stringify(values[input.value])));
    return { input, json };
  },

  json({ id, schema, root, required, initial, changed }) {
    const start = initial === undefined ? (required ? written(exampleOf(schema, root)) : "") : written(initial);
    const input = editor(id, start, changed);
    if (!start) input.placeholder = written(exampleOf(schema, root));
    return {
      input,
      json() {
        if (!required && input.value === start) return null;
        if (!input.value.trim()) return null;
        return checked(input.value);
      },
    };
  },

  file: (options) => picker({ ...options, multiple: false }),
  files: (options) => picker({ ...options, multiple: true }),
};

function numeric({ id, schema, required, initial, changed }) {
  const start = initial === undefined || initial === null ? "" : String(initial);
  const inputmode = schema.type === "integer" ? "numeric" : "decimal";
  const input = el("input", { id, type: "text", inputmode, autocomplete: "off", oninput: changed });
  input.value = start;
  return {
    input,
    json() {
      const typed = input.value.trim();
      if (typed === "" || (!required && typed === start)) return null;
      return NUMBER.test(typed) ? typed : JSON.stringify(typed); // the server says what is wrong with it
    },
  };
}

/** A place for JSON that says while it is written whether it is some. */
export function editor(id, start, changed) {
  const input = el("textarea", {
    id, class: "code", spellcheck: "false", rows: Math.min(14, Math.max(2, start.split("\n").length)),
    oninput() {
      input.toggleAttribute("data-invalid", input.value.trim() !== "" && !isJson(input.value));
      changed();
    },
  });
  input.value = start;
  return input;
}

/** The text, if it is JSON; else throws an `Error` with what is wrong. */
export function checked(text) {
  try {
    JSON.parse(text);
  } catch (error) {
    throw new Error(`This is not JSON: ${error.message}`);
  }
  return text.trim();
}

function isJson(text) {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

/** JSON for people: small arrays stay on one line. */
export function written(value) {
  return JSON.stringify(value, null, 2).replace(/\[\s+((?:[^[\]{}"]|"[^"\\]*")*?)\s+\]/g, (whole, inside) => {
    const line = `[${inside.replace(/,\s+/g, ", ")}]`;
    return line.length < 80 ? line : whole;
  });
}

/** Files from a dialog or dropped, with a preview of those that are images. */
export function picker({ id, multiple, accept, changed }) {
  const previews = el("ul", { class: "previews" });
  let urls = [];
  const input = el("input", { id, type: "file", multiple, accept, onchange: show });
  const element = el("div", {
    class: "drop",
    ondragover(event) { event.preventDefault(); element.classList.add("over"); },
    ondragleave: () => element.classList.remove("over"),
    ondrop(event) {
      event.preventDefault();
      element.classList.remove("over");
      if (event.dataTransfer.files.length === 0) return;
      input.files = multiple ? event.dataTransfer.files : firstOf(event.dataTransfer.files);
      show();
    },
  }, input, previews);

  function show() {
    urls.forEach((url) => URL.revokeObjectURL(url));
    urls = [];
    previews.replaceChildren(...[...input.files].map((file) => {
      const line = el("span", {}, `${file.name} · ${bytes(file.size)}`);
      if (!file.type.startsWith("image/")) return el("li", {}, line);
      const url = URL.createObjectURL(file);
      urls.push(url);
      return el("li", {}, el("img", { src: url, alt: `Preview of ${file.name}` }), line);
    }));
    changed();
  }
  return { input, element, files: () => [...input.files], json: () => null };
}

function firstOf(files) {
  const transfer = new DataTransfer();
  transfer.items.add(files[0]);
  return transfer.files;
}
