// This server: where its routes are, and the token that its calls carry. The token is kept in this page alone.

const WITHIN_MS = 8000; // a document that has not come by then is asked for again

let token = "";

export const useToken = (given) => { token = given.trim(); };

export const urlOf = (route) => new URL(route.replace(/^\//, ""), document.baseURI);

/** Headers of a call; a token only where one was given. */
export const authorization = () => (token ? { Authorization: `Bearer ${token}` } : {});

/** A document of the server's. Throws `Refused` where it wants a token, and `Unreadable` where nothing comes. */
export async function read(route) {
  let answer;
  try {
    answer = await fetch(urlOf(route), { headers: { Accept: "application/json", ...authorization() }, signal: AbortSignal.timeout(WITHIN_MS) });
    if (answer.ok) return await answer.json();
  } catch (error) {
    throw new Unreadable(`The server cannot be reached (${error.message}).`);
  }
  if (answer.status === 401 || answer.status === 403) throw new Refused(answer.status);
  throw new Unreadable(`${route} answers ${answer.status}.`);
}

export class Unreadable extends Error {}

export class Refused extends Error {
  constructor(status) {
    super(status === 401 ? "This server wants a key or a token." : "The token is not enough for this page.");
  }
}
