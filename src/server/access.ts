/** Who may ask: API keys, and the hosts under which a server on loopback may be addressed. */
import { createHash, timingSafeEqual } from "node:crypto";
import { ApiError } from "./errors.ts";

/** Hosts under which a server on a loopback address may be asked. */
export const LOOPBACK_HOSTS: readonly string[] = ["localhost", "127.0.0.1", "[::1]"];

function hashOf(text: string): Uint8Array {
  return createHash("sha256").update(text).digest();
}

/** Checks API keys in a time that tells nothing about them. */
export class KeyCheck {
  readonly #hashes: readonly Uint8Array[];

  /** Without keys everybody may ask. */
  constructor(keys: readonly string[]) {
    this.#hashes = keys.map(hashOf);
  }

  /** 401 unless the request carries a key, as `Authorization: Bearer KEY` or `x-api-key: KEY`. */
  check(headers: Headers): void {
    if (this.#hashes.length === 0) return;
    const bearer = /^bearer +(\S+) *$/i.exec(headers.get("authorization") ?? "")?.[1];
    const given = bearer ?? headers.get("x-api-key") ?? "";
    const hash = hashOf(given);
    let matches = 0;
    for (const expected of this.#hashes) matches += timingSafeEqual(hash, expected) ? 1 : 0;
    if (matches > 0 && given !== "") return;
    const message = given === "" ? "no API key was given" : "the API key is wrong";
    throw new ApiError(401, "authentication_error", "invalid_api_key", message, {
      headers: { "www-authenticate": "Bearer" },
    });
  }
}

/** The host of `name:port` or of an origin, in lower case; undefined when it is none. */
function hostOf(text: string, isOrigin: boolean): string | undefined {
  const url = isOrigin ? text : `http://${text}`;
  if (!URL.canParse(url)) return undefined;
  const { hostname, username, pathname } = new URL(url);
  return username === "" && pathname === "/" ? hostname.toLowerCase() : undefined;
}

/**
 * 403 when a request came under another name than the allowed: a web page whose name was made to point to this
 * machine, or a page from elsewhere that asks without the user's knowledge.
 */
export function checkHost(request: Request, allowed: readonly string[] | undefined): void {
  if (allowed === undefined) return;
  const host = request.headers.get("host");
  const name = host === null ? new URL(request.url).hostname : hostOf(host, false);
  const origin = request.headers.get("origin");
  const originName = origin === null ? undefined : hostOf(origin, true) ?? "";
  for (const one of [name ?? "", originName]) {
    if (one === undefined || allowed.includes(one)) continue;
    const message = "the request's Host or Origin is not one that this server answers to";
    throw new ApiError(403, "permission_error", "host_not_allowed", message);
  }
}
