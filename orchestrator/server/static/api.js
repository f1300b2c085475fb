// One API: what it is, a form, the answer. The form is made when the card is opened first.

import { problem, shownBody } from "./answer.js";
import { bytes, choice, el, freshId, seconds, setText } from "./dom.js";
import { NotWritten, waysOf } from "./forms.js";
import { curlOf, fetchOptions } from "./request.js";
import { urlOf } from "./server.js";
import { chunksOf, mediaTypeOf } from "./stream.js";

const EVENTS = "text/event-stream";
const MOST_CHUNKS = 1000;

/** `{element, rate(text)}` of an operation. */
export function apiCard({ route, operation, root, facts }) {
  const name = route.replace(/^\//, "") || "/";
  const rate = el("span", { class: "rate" });
  const body = el("div", { class: "card-body" });
  const answers = Object.keys(operation.responses?.["200"]?.content ?? {});
  const streams = facts?.stream ?? answers.includes(EVENTS);
  const element = el("details", {
    class: "card api", "data-route": route,
    ontoggle() { if (element.open && !body.childElementCount) body.append(...formOf(route, operation, root, answers, streams)); },
  },
    el("summary", {},
      el("span", { class: "method" }, "POST"),
      el("code", {}, route),
      facts?.batches && el("span", { class: "chip" }, "batches"),
      streams && el("span", { class: "chip" }, "stream"),
      rate,
      el("span", { class: "summary" }, operation.summary !== name ? operation.summary : ""),
    ),
    body,
  );
  return { element, rate: (text) => setText(rate, text) };
}

function formOf(route, operation, root, answers, streams) {
  const ways = waysOf(operation, root, () => curlBox.open && showCurl());
  let way = ways[0], accept = streams && answers.includes(EVENTS) ? EVENTS : "*/*", running = null;
  const place = el("div", {}, way.element);
  const send = el("button", { type: "submit" }, "Send");
  const stop = el("button", { type: "button", class: "quiet", hidden: true, onclick: () => running?.abort() }, "Stop");
  const curl = el("code");
  const copy = el("button", { type: "button", class: "quiet", onclick: () => copied(curl.textContent, copy) }, "Copy");
  const showing = new Showing();

  function showCurl() {
    try {
      setText(curl, curlOf(urlOf(route), way.read({ quiet: true }), accept, streams));
      copy.disabled = false;
    } catch (error) {
      if (!(error instanceof NotWritten)) throw error;
      setText(curl, `# ${error.message}`);
      copy.disabled = true;
    }
  }

  const acceptId = freshId("accept");
  const types = [...(streams ? [] : ["*/*"]), ...answers];
  const choices = types.length > 1 + !streams && el("label", { class: "accept", for: acceptId }, "Answer as ",
    el("select", { id: acceptId, onchange: (event) => { accept = event.target.value; curlBox.open && showCurl(); } },
      types.map((type) => el("option", { value: type, selected: type === accept }, type === "*/*" ? "the service likes" : type))));

  const curlBox = el("details", { class: "curl", ontoggle: () => curlBox.open && showCurl() },
    el("summary", {}, "curl"), el("div", { class: "row top" }, el("pre", { class: "output", tabindex: "0" }, curl), copy));

  const form = el("form", {
    novalidate: true,
    async onsubmit(event) {
      event.preventDefault();
      if (running) return;
      let body;
      try {
        body = way.read();
      } catch (error) {
        if (error instanceof NotWritten) return;
        throw error;
      }
      running = new AbortController();
      send.disabled = true;
      stop.hidden = false;
      await showing.call(urlOf(route), { ...fetchOptions(body, accept), signal: running.signal }, streams, way);
      running = null;
      send.disabled = false;
      stop.hidden = true;
    },
  },
    ways.length > 1 && choice("How the request is written", ways.map((each, n) => [n, each.label]), 0, (n) => {
      way = ways[n];
      place.replaceChildren(way.element);
      if (curlBox.open) showCurl();
    }),
    place,
    el("div", { class: "row" }, send, stop, choices),
  );
  const more = (operation.description ?? "").replace(operation.summary ?? "", "").trim(); // the summary is its first line
  const doc = more && el("p", { class: "doc" }, more);
  return [doc, form, curlBox, showing.element].filter(Boolean);
}

async function copied(text, button) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Only pages of https and of this machine have a clipboard.
    const area = el("textarea", { class: "hidden" });
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  setText(button, "Copied");
  setTimeout(() => setText(button, "Copy"), 1500);
}

/** Where an answer is shown; the next one takes its place. */
class Showing {
  constructor() {
    this.status = el("p", { class: "answer-line", role: "status" });
    this.body = el("div");
    this.element = el("section", { class: "answer", "aria-label": "Answer", hidden: true }, this.status, this.body);
    this.urls = [];
  }

  async call(url, options, streams, way) {
    this.urls.forEach((used) => URL.revokeObjectURL(used));
    this.urls = [];
    this.body.replaceChildren();
    this.element.hidden = false;
    this.line(["", "…"]);
    const started = performance.now();
    const since = () => (performance.now() - started) / 1000;
    try {
      const answer = await fetch(url, options);
      const id = answer.headers.get("x-request-id");
      const line = (...more) => this.line([statusClass(answer.status), `${answer.status} ${answer.statusText}`.trim()], seconds(since()), ...more, id && `request ${id}`);
      if (answer.ok && (streams || mediaTypeOf(answer) === EVENTS)) await this.stream(answer, line, since);
      else await this.whole(answer, line, way);
    } catch (error) {
      const stopped = error.name === "AbortError";
      const words = stopped ? "stopped" : "broken off: the answer did not come to its proper end, or the server cannot be reached";
      this.line([stopped ? "" : "bad", words], seconds(since()), this.counted);
      if (!stopped && !(error instanceof TypeError)) throw error;
    } finally {
      this.counted = null;
    }
  }

  async whole(answer, line, way) {
    const blob = await answer.blob();
    const type = answer.headers.get("content-type") ?? "";
    line(bytes(blob.size));
    way.fail([]);
    const document = answer.ok ? null : parsed(await blob.text());
    if (document) {
      const errors = Array.isArray(document.errors) ? document.errors : [];
      this.body.replaceChildren(problem(document, way.fail(errors)));
    } else {
      this.body.replaceChildren(await shownBody(blob, type, filenameOf(answer), this.urls));
    }
  }

  async stream(answer, line, since) {
    let count = 0, first = null, all = "", view = null, jsons = 0;
    const rows = el("ol", { class: "plain chunks" });
    const joined = el("pre", { class: "output", tabindex: "0" });
    const place = el("div");
    const show = (chosen) => { view = chosen; place.replaceChildren(view === "text" ? joined : rows); };
    const tell = (end) => {
      this.counted = `${count} ${count === 1 ? "chunk" : "chunks"}${first === null ? "" : `, the first after ${seconds(first)}`}`;
      line(this.counted, end);
    };
    tell("open");
    for await (const chunk of chunksOf(answer)) {
      first ??= since();
      if (chunk.problem) {
        this.body.append(problem(chunk.problem, chunk.problem.errors ?? []));
        continue;
      }
      count += 1;
      const text = chunk.text ?? hex(chunk.bytes);
      jsons += chunk.json !== undefined || chunk.bytes !== undefined;
      all += text;
      if (view === null) {
        const start = jsons ? "chunks" : "text";
        this.body.append(choice("How the stream is shown", [["text", "Text"], ["chunks", "Chunks"]], start, show), place);
        show(start);
      }
      if (all.length < 1_000_000) joined.append(text);
      if (count <= MOST_CHUNKS) {
        rows.append(el("li", {}, el("time", {}, `+${seconds(since())}`), el("span", { class: "chunk" }, text)));
        if (rows.scrollHeight - rows.scrollTop - rows.clientHeight < 80) rows.scrollTop = rows.scrollHeight;
      }
      tell("open");
    }
    tell("ended");
  }

  line([kind, first], ...others) {
    this.status.replaceChildren(el("strong", { class: kind }, first), ...others.filter(Boolean).flatMap((each) => [" · ", each]));
  }
}

const statusClass = (status) => (status < 300 ? "good" : status < 500 ? "warn" : "bad");

const hex = (bytes) => `${bytes.length} bytes: ${[...bytes.slice(0, 32)].map((byte) => byte.toString(16).padStart(2, "0")).join(" ")}${bytes.length > 32 ? " …" : ""}\n`;

function filenameOf(answer) {
  const header = answer.headers.get("content-disposition") ?? "";
  const encoded = /filename\*=utf-8''([^;]+)/i.exec(header)?.[1];
  try {
    return encoded ? decodeURIComponent(encoded) : /filename="?([^";]+)"?/i.exec(header)?.[1] ?? "";
  } catch {
    return "";
  }
}

function parsed(text) {
  try {
    const document = JSON.parse(text);
    return typeof document === "object" && document !== null && "detail" in document ? document : null;
  } catch {
    return null;
  }
}
