// A body as a request of `fetch`, and as a command of curl.

import { authorization } from "./server.js";

/** `{method, headers, body}` for `fetch`. */
export function fetchOptions(body, accept) {
  const headers = { Accept: accept, ...authorization() };
  if (body.kind === "form") {
    const form = new FormData();
    for (const part of body.parts) form.append(part.name, part.file ?? part.text);
    return { method: "POST", headers, body: form };
  }
  headers["Content-Type"] = body.mediaType;
  return { method: "POST", headers, body: body.file ?? body.text };
}

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

/** The same for a shell; a token stands in it as `$TOKEN`. */
export function curlOf(url, body, accept, streams) {
  const words = [`curl${streams ? " -N" : ""} ${quoted(String(url))}`];
  if (accept !== "*/*") words.push(`-H ${quoted(`Accept: ${accept}`)}`);
  if (authorization().Authorization) words.push('-H "Authorization: Bearer $TOKEN"');
  if (body.kind === "form") {
    if (body.parts.length === 0) words.unshift(words.shift().replace(/^curl/, "curl -X POST"));
    for (const part of body.parts) {
      // --form-string sends a text as it is, also one that begins with @ or <.
      if (!part.file) words.push(`--form-string ${quoted(`${part.name}=${part.text}`)}`);
      else words.push(`-F ${quoted(`${part.name}=@${part.file.name}${part.file.type ? `;type=${part.file.type}` : ""}`)}`);
    }
  } else {
    words.push(`-H ${quoted(`Content-Type: ${body.mediaType}`)}`);
    if (body.kind === "file") words.push(`--data-binary ${quoted(`@${body.file.name}`)}`);
    else words.push(`--data-raw ${quoted(body.text)}`);
  }
  return words.join(" \\\n  ");
}
