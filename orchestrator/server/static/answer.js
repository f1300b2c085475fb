// Answers, each shown as what it is. Nothing of an answer becomes markup.

import { bytes, choice, el } from "./dom.js";

const MOST_ROWS = 200;
const MOST_TEXT = 400_000;

/** An answer's body. `urls` gets every URL that was made for it, for whoever removes the element. */
export async function shownBody(blob, contentType, filename, urls) {
  const type = contentType.split(";")[0].trim().toLowerCase();
  if (blob.size === 0) return el("p", { class: "words" }, "The body is empty.");
  if (/^(image|audio|video)\//.test(type)) return media(blob, type, filename, urls);
  if (type === "multipart/mixed") return parts(blob, contentType, urls);
  if (type === "application/json" || type.endsWith("+json")) return withDownload(json(await blob.text()), blob, filename || "answer.json", urls);
  if (type === "text/csv") return withDownload(csv(await blob.text()), blob, filename || "answer.csv", urls);
  if (type.startsWith("text/") || type === "application/x-ndjson") return withDownload(text(await blob.text()), blob, filename || "answer.txt", urls);
  return el("p", {}, `${bytes(blob.size)} of ${type || "unknown type"}. `, download(blob, filename || "answer.bin", urls));
}

function media(blob, type, filename, urls) {
  const url = kept(URL.createObjectURL(blob), urls);
  const family = type.split("/")[0];
  const words = `${bytes(blob.size)} of ${type}`;
  const shown = family === "image"
    ? el("img", { class: "picture", src: url, alt: `The answer: ${words}`, onerror: () => shown.replaceWith("This browser cannot show it.") })
    : el(family, { src: url, controls: true });
  return el("div", {}, shown, el("p", { class: "words" }, `${words} `, download(blob, filename || `answer.${type.split("/")[1].split("+")[0]}`, urls)));
}

/** As bytes to keep: a browser must not open it as a page of ours. */
function download(blob, filename, urls) {
  const url = kept(URL.createObjectURL(new Blob([blob], { type: "application/octet-stream" })), urls);
  return el("a", { href: url, download: filename }, `Download ${filename}`);
}

const withDownload = (element, blob, filename, urls) =>
  el("div", {}, element, el("p", { class: "words" }, `${bytes(blob.size)} `, download(blob, filename, urls)));

function kept(url, urls) {
  urls.push(url);
  return url;
}

export const text = (content) =>
  el("pre", { class: "output", tabindex: "0" }, content.length > MOST_TEXT ? `${content.slice(0, MOST_TEXT)}\n… ${content.length - MOST_TEXT} more characters` : content);

/** A document as a table where it is one, as a tree, and as it came. */
function json(source) {
  let value;
  try {
    value = JSON.parse(source);
  } catch {
    return text(source);
  }
  if (typeof value !== "object" || value === null) return text(source);
  const records = recordsOf(value);
  const place = el("div");
  const views = {
    table: () => table(records),
    tree: () => el("div", { class: "output tree" }, tree(value, true)),
    text: () => text(source.length > MOST_TEXT ? source : JSON.stringify(value, null, 2)),
  };
  const show = (view) => place.replaceChildren(views[view]());
  const first = records ? "table" : "tree";
  show(first);
  const options = [...(records ? [["table", "Table"]] : []), ["tree", "Tree"], ["text", "Text"]];
  return el("div", {}, choice("How the answer is shown", options, first, show), place);
}

/** `{columns, rows}` of a list of objects, or of an object of equally long lists; null for anything else. */
function recordsOf(value) {
  const plain = (each) => typeof each === "object" && each !== null && !Array.isArray(each);
  if (Array.isArray(value) && value.length && value.every(plain)) {
    const columns = [...new Set(value.flatMap(Object.keys))];
    return columns.length && columns.length <= 60 ? { columns, rows: value.map((row) => columns.map((column) => row[column])) } : null;
  }
  if (!plain(value)) return null;
  const lists = Object.values(value);
  const long = lists[0]?.length;
  if (!lists.length || !lists.every((list) => Array.isArray(list) && list.length === long && long > 0 && !list.some(Array.isArray))) return null;
  return { columns: Object.keys(value), rows: lists[0].map((_, n) => lists.map((list) => list[n])) };
}

function table({ columns, rows }) {
  const cell = (value) => el("td", {}, value === undefined ? "" : typeof value === "string" ? value : JSON.stringify(value));
  return el("div", { class: "output scroll", tabindex: "0" },
    el("table", {},
      el("thead", {}, el("tr", {}, columns.map((column) => el("th", { scope: "col" }, column)))),
      el("tbody", {}, rows.slice(0, MOST_ROWS).map((row) => el("tr", {}, row.map(cell)))),
    ),
    rows.length > MOST_ROWS && el("p", { class: "words" }, `… ${rows.length - MOST_ROWS} more rows`),
  );
}

function csv(source) {
  const rows = [[]];
  for (const [, quoted, bare, end] of source.matchAll(/(?:"((?:[^"]|"")*)"|([^",\r\n]*))(,|\r\n|\n|\r|$)/g)) {
    rows.at(-1).push(quoted !== undefined ? quoted.replaceAll('""', '"') : bare);
    if (end === "") break;
    if (end !== ",") rows.push([]);
  }
  if (rows.at(-1).length === 1 && rows.at(-1)[0] === "") rows.pop();
  const [columns, ...others] = rows;
  return columns ? table({ columns, rows: others }) : text(source);
}

/** A value whose inside is made when it is opened. */
function tree(value, open = false) {
  if (typeof value !== "object" || value === null) {
    return el("span", { class: value === null ? "null" : typeof value }, JSON.stringify(value));
  }
  const entries = Object.entries(value);
  const list = Array.isArray(value);
  if (!entries.length) return el("span", { class: "null" }, list ? "[]" : "{}");
  if (list && entries.length <= 12 && value.every((each) => typeof each === "number")) {
    return el("span", { class: "number" }, `[${value.join(", ")}]`);
  }
  const inside = el("ul", { class: "plain" });
  const fill = () => {
    if (inside.childElementCount) return;
    inside.append(...entries.slice(0, MOST_ROWS).map(([key, each]) => el("li", {}, el("span", { class: "key" }, key), ": ", tree(each, entries.length <= 3))));
    if (entries.length > MOST_ROWS) inside.append(el("li", { class: "words" }, `… ${entries.length - MOST_ROWS} more`));
  };
  if (open) fill();
  const summary = list ? `${entries.length} items` : `${entries.length} ${entries.length === 1 ? "field" : "fields"}`;
  return el("details", { open, ontoggle: fill }, el("summary", {}, summary), inside);
}

/** Every file of an answer with several. */
async function parts(blob, contentType, urls) {
  const boundary = /boundary="?([^";]+)"?/.exec(contentType)?.[1];
  const source = new Uint8Array(await blob.arrayBuffer());
  const binary = Array.from({ length: Math.ceil(source.length / 8192) }, (_, n) =>
    String.fromCharCode(...source.subarray(n * 8192, (n + 1) * 8192))).join("");
  const list = el("ol", { class: "plain parts" });
  let start = binary.indexOf(`--${boundary}`);
  for (let next; start >= 0; start = next) {
    next = binary.indexOf(`\r\n--${boundary}`, start + 1);
    const head = binary.indexOf("\r\n\r\n", start);
    if (next < 0 || head < 0 || head > next) break;
    const headers = binary.slice(start, head);
    const type = /content-type: *([^\r\n]+)/i.exec(headers)?.[1] ?? "application/octet-stream";
    const name = /filename="?([^";\r\n]+)"?/i.exec(headers)?.[1] ?? "";
    const content = new Blob([source.subarray(head + 4, next)], { type });
    list.append(el("li", {}, el("p", {}, el("strong", {}, name || "file")), await shownBody(content, type, name, urls)));
  }
  return list;
}

/** What went wrong, without the errors that have found their fields. */
export function problem(document, left) {
  return el("div", { class: "problem", role: "alert" },
    el("p", {}, el("strong", {}, [document.status, document.title].filter(Boolean).join(" ") || "It failed")),
    el("p", {}, document.detail ?? document.error ?? ""),
    left.length > 0 && el("ul", {}, left.map((error) => el("li", {}, (error.loc?.length ? `${error.loc.join(".")}: ` : "") + error.msg))),
  );
}
