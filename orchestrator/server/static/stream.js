// The chunks of an answer while it comes.

const EVENTS = "text/event-stream";

export const mediaTypeOf = (answer) => (answer.headers.get("content-type") ?? "").split(";")[0].trim().toLowerCase();

/**
 * Each chunk as `{text}`, `{json}`, `{bytes}` or, for an error in mid-stream, `{problem}`.
 * Chunks of text and bytes are as the network cut them; events and lines are the method's own.
 */
export async function* chunksOf(answer) {
  const type = mediaTypeOf(answer);
  if (type === EVENTS) {
    for await (const event of eventsOf(answer)) yield event;
  } else if (type.endsWith("ndjson") || type.endsWith("jsonl")) {
    for await (const line of linesOf(answer)) if (line) yield parsed(line);
  } else if (type.startsWith("text/")) {
    for await (const text of textOf(answer)) yield { text };
  } else {
    for await (const bytes of bytesOf(answer)) yield { bytes };
  }
}

async function* eventsOf(answer) {
  let kind = "", data = [];
  for await (const line of linesOf(answer)) {
    if (line === "") {
      if (data.length) {
        const text = data.join("\n");
        yield kind === "error" ? { problem: parsed(text).json ?? { detail: text } } : parsed(text);
      }
      kind = "";
      data = [];
      continue;
    }
    const [, field, value] = /^([^:]*)(?:: ?(.*))?$/s.exec(line);
    if (field === "event") kind = value ?? "";
    if (field === "data") data.push(value ?? "");
  }
}

/** Objects and lists as such; a word that happens to be JSON (`7`, `null`) is more often a word. */
function parsed(text) {
  if (!/^\s*[[{]/.test(text)) return { text };
  try {
    return { json: JSON.parse(text), text };
  } catch {
    return { text };
  }
}

async function* linesOf(answer) {
  let rest = "";
  for await (const text of textOf(answer)) {
    const lines = (rest + text).split(/\r\n|\n|\r(?!$)/);
    rest = lines.pop();
    yield* lines;
  }
  if (rest) yield rest;
}

async function* textOf(answer) {
  const decoder = new TextDecoder();
  for await (const bytes of bytesOf(answer)) {
    const text = decoder.decode(bytes, { stream: true });
    if (text) yield text;
  }
  const text = decoder.decode();
  if (text) yield text;
}

async function* bytesOf(answer) {
  if (!answer.body) return;
  const reader = answer.body.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield value;
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}
