// The ways to write one API's request, made from its operation in the OpenAPI document. Each is `{label, element, read, fail}`:
// `read({quiet})` gives a body, or throws a `NotWritten` (and says at the field why, unless `quiet`); `fail(errors)` places a
// problem's errors and returns those without a place.
//
// A body is one of `{kind: "json" | "text", text, mediaType}`, `{kind: "file", file, mediaType}`, `{kind: "form", parts}`.

import { el, freshId } from "./dom.js";
import { checked, editor, fieldOf, picker, written } from "./fields.js";
import { exampleOf, resolved } from "./schema.js";

const JSON_TYPE = "application/json";
const FORM = "multipart/form-data";

export class NotWritten extends Error {}

/** The best way first. */
export function waysOf(operation, root, changed) {
  const content = operation.requestBody?.content ?? {};
  const json = content[JSON_TYPE];
  const ways = [];
  if (content[FORM]) {
    ways.push(fieldsWay(content[FORM], json?.example, root, changed, acceptOf(content), formBody));
  } else if (json && Object.keys(resolved(json.schema, root).schema.properties ?? {}).length) {
    ways.push(fieldsWay(json, json.example, root, changed, null, jsonBody));
  }
  if (json) {
    const empty = isEmpty(json, root);
    if (empty) ways.push(emptyWay());
    ways.push(jsonWay(json, root, changed));
  }
  if (content["text/plain"]) ways.push(textWay(content["text/plain"], changed));
  for (const mediaType of Object.keys(content)) {
    if (mediaType !== FORM && mediaType !== JSON_TYPE && mediaType !== "text/plain") ways.push(fileWay(mediaType, changed));
  }
  return ways.length ? ways : [emptyWay()];
}

const acceptOf = (content) => Object.keys(content).find((type) => /^(image|audio|video)\//.test(type)) ?? null;

function isEmpty(media, root) {
  const { schema } = resolved(media.schema, root);
  return schema.type === "object" && Object.keys(schema.properties ?? {}).length === 0 && / arguments$/.test(schema.title ?? "");
}

function emptyWay() {
  return {
    label: "Form",
    element: el("p", { class: "words" }, "It takes no arguments."),
    read: () => ({ kind: "json", text: "{}", mediaType: JSON_TYPE }),
    fail: (errors) => errors,
  };
}

function fieldsWay(media, example, root, changed, accept, bodyOf) {
  const { schema } = resolved(media.schema, root);
  const whole = schema.default; // of a body that may be left out as a whole: its fields are no defaults of their own
  const required = new Set(whole ? Object.keys(schema.properties) : schema.required ?? []);
  const fields = Object.entries(schema.properties).map(([name, given]) =>
    fieldOf({
      name, given, root, changed,
      required: required.has(name),
      example: whole?.[name] ?? (required.has(name) ? example?.[name] : undefined),
      accept: media.encoding?.[name]?.contentType ?? accept,
    }),
  );
  return {
    label: "Form",
    element: el("div", { class: "fields" }, fields.map((field) => field.element)),
    read({ quiet = false } = {}) {
      if (!quiet) fields.forEach((field) => field.fail(""));
      return bodyOf(fields, quiet);
    },
    fail(errors) {
      fields.forEach((field) => field.fail(""));
      const left = [];
      const messages = new Map();
      for (const error of errors) {
        const [name, ...inside] = error.loc;
        if (!fields.some((field) => field.name === name)) left.push(error);
        else messages.set(name, [...(messages.get(name) ?? []), (inside.length ? `${inside.join(".")}: ` : "") + error.msg]);
      }
      const failed = fields.filter((field) => messages.has(field.name));
      failed.forEach((field) => field.fail(messages.get(field.name).join("\n")));
      failed[0]?.focus();
      return left;
    },
  };
}

function writtenJson(field, quiet) {
  try {
    return field.json();
  } catch (error) {
    if (!quiet) {
      field.fail(error.message);
      field.focus();
    }
    throw new NotWritten(`${field.name}: ${error.message}`);
  }
}

function jsonBody(fields, quiet) {
  const members = fields
    .map((field) => [field.name, writtenJson(field, quiet)])
    .filter(([, text]) => text !== null)
    .map(([name, text]) => `${JSON.stringify(name)}: ${text}`);
  return { kind: "json", text: `{${members.join(", ")}}`, mediaType: JSON_TYPE };
}

function formBody(fields, quiet) {
  const parts = fields.flatMap((field) => {
    if (field.files) return field.files().map((file) => ({ name: field.name, file }));
    const text = field.text ? field.text() : writtenJson(field, quiet);
    if (text === null) return [];
    // Text in quotes would be read as JSON, and lose them.
    return [{ name: field.name, text: field.text && text.startsWith('"') ? JSON.stringify(text) : text }];
  });
  return { kind: "form", parts };
}

function jsonWay(media, root, changed) {
  const id = freshId("json");
  const start = written(media.example ?? exampleOf(media.schema, root));
  return oneWay("JSON", id, editor(id, start, changed), "The whole body", (input) => {
    return { kind: "json", text: checked(input.value), mediaType: JSON_TYPE };
  });
}

function textWay(media, changed) {
  const id = freshId("text");
  const input = el("textarea", { id, rows: 4, oninput: changed });
  input.value = typeof media.example === "string" ? media.example : "";
  return oneWay("Text", id, input, "The text", () => ({ kind: "text", text: input.value, mediaType: "text/plain" }));
}

function fileWay(mediaType, changed) {
  const id = freshId("file");
  const pattern = mediaType.includes("*");
  const accept = pattern ? mediaType : undefined;
  const { input, element, files } = picker({ id, multiple: false, accept, changed });
  const read = () => {
    const [file] = files();
    if (!file) throw new Error("Choose a file first.");
    return { kind: "file", file, mediaType: pattern ? file.type || "application/octet-stream" : mediaType };
  };
  return oneWay(`Body: ${mediaType}`, id, input, "The whole body is the file", read, element);
}

function oneWay(label, id, input, words, bodyOf, element = input) {
  const error = el("p", { id: `${id}-error`, class: "field-error" });
  input.setAttribute("aria-describedby", `${id}-error`);
  const fail = (message) => { error.textContent = message; };
  return {
    label,
    element: el("div", { class: "field" }, el("label", { for: id }, words), element, error),
    read({ quiet = false } = {}) {
      if (!quiet) fail("");
      try {
        return bodyOf(input);
      } catch (wrong) {
        if (!quiet) {
          fail(wrong.message);
          input.focus();
        }
        throw new NotWritten(wrong.message);
      }
    },
    fail: (errors) => errors,
  };
}
