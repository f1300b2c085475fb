// This server: where its routes are, and the token that its calls carry. The token is kept in this page alone.

let token = "";

export const useToken = (given) => { token = given.trim(); };

export const urlOf = (route) => new URL(route.replace(/^\//, ""), document.baseURI);

/** Headers of a call; a token only where one was given. */
export const authorization = () => (token ? { Authorization: `Bearer ${token}` } : {});

/** A document of the server's. Throws `Refused` where it wants a token, and an `Error` where it cannot be read. */
export async function read(route) {
  const answer = await fetch(urlOf(route), { headers: { Accept: "application/json", ...authorization() } });
  if (answer.status === 401 || answer.status === 403) throw new Refused(answer.status);
  if (!answer.ok) throw new Error(`${route} answers ${answer.status}`);
  return answer.json();
}

export class Refused extends Error {
  constructor(status) {
    super(status === 401 ? "This server wants a key or a token." : "The token is not enough for this page.");
  }
}
