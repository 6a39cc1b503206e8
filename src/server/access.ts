/** Who may ask: API keys, the hosts of a server on loopback, and the pages that may read answers. */
import { createHash, timingSafeEqual } from "node:crypto";
import { RealizarError } from "../errors.ts";
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

  /**
   * 401 unless the request carries a key, as `Authorization: Bearer KEY` or `x-api-key: KEY`. Returns a name of that
   * key, which does not tell it; undefined where none is needed.
   */
  check(headers: Headers): string | undefined {
    if (this.#hashes.length === 0) return undefined;
    const bearer = /^bearer +(\S+) *$/i.exec(headers.get("authorization") ?? "")?.[1];
    const given = bearer ?? headers.get("x-api-key") ?? "";
    const hash = hashOf(given);
    let matches = 0;
    for (const expected of this.#hashes) matches += timingSafeEqual(hash, expected) ? 1 : 0;
    if (matches > 0 && given !== "") {
      return [...hash.subarray(0, 8)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
    }
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
 * machine, or a page from elsewhere that asks without the user's knowledge. Pages that `cors` allows may ask.
 */
export function checkHost(request: Request, allowed: readonly string[] | undefined, cors: Cors): void {
  if (allowed === undefined) return;
  const host = request.headers.get("host");
  const name = host === null ? new URL(request.url).hostname : hostOf(host, false);
  const origin = request.headers.get("origin");
  const originName = origin === null || cors.allows(origin) ? undefined : hostOf(origin, true) ?? "";
  for (const one of [name ?? "", originName]) {
    if (one === undefined || allowed.includes(one)) continue;
    const message = "the request's Host or Origin is not one that this server answers to";
    throw new ApiError(403, "permission_error", "host_not_allowed", message);
  }
}

/** Headers of answers that a page may read beside those it always may. */
const EXPOSED = "x-request-id, request-id, retry-after, retry-after-ms, x-should-retry";
/** Browsers ask again after so long. */
const PREFLIGHT_S = 600;

/** Pages from elsewhere that may ask and read: none unless its owner names them. No cookies, ever. */
export class Cors {
  readonly #origins: readonly string[];

  /** Origins such as `https://app.example`, or `*`. Throws `ARG` for what is no origin. */
  constructor(origins: readonly string[]) {
    for (const one of origins) {
      if (one === "*" || (URL.canParse(one) && new URL(one).origin === one)) continue;
      throw new RealizarError(
        "ARG",
        `got ${JSON.stringify(one)}, expected an origin such as https://app.example, or *`,
      );
    }
    this.#origins = origins;
  }

  /** Whether pages of this origin may ask. */
  allows(origin: string): boolean {
    return this.#origins.includes("*") || this.#origins.includes(origin);
  }

  /** The answer to a browser that asks whether it may ask; undefined when this is no such question, or it may not. */
  preflight({ method, headers }: Request): Response | undefined {
    const origin = headers.get("origin");
    if (method !== "OPTIONS" || origin === null || !this.allows(origin)) return undefined;
    if (!headers.has("access-control-request-method")) return undefined;
    const allowed: Record<string, string> = {
      "access-control-allow-methods": "GET, HEAD, POST",
      "access-control-max-age": String(PREFLIGHT_S),
    };
    const asked = headers.get("access-control-request-headers");
    if (asked !== null) allowed["access-control-allow-headers"] = asked;
    return new Response(null, { status: 204, headers: allowed });
  }

  /** Lets an allowed page read the answer. */
  mark({ headers }: Request, answer: Headers): void {
    if (this.#origins.length === 0) return;
    answer.append("vary", "origin");
    const origin = headers.get("origin");
    if (origin === null || !this.allows(origin)) return;
    answer.set("access-control-allow-origin", origin);
    answer.set("access-control-expose-headers", EXPOSED);
  }
}
