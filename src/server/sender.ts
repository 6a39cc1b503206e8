/** Who asks: the name under which the engine shares its places and its work among clients. */
import { RealizarError } from "../errors.ts";

/** What a listener knows of who sent a request. */
export interface Sender {
  /** The peer's IP address. */
  address?: string | undefined;
}

const HEADER_LENGTH_MAX = 200;
/** Groups of an IPv6 address that one site has: it can choose the others as it likes. */
const SITE_GROUPS = 4;

/** Refuses what is no name of a header with `ARG`. */
export function checkClientHeader(name: string | undefined): void {
  if (name === undefined || /^[\w!#$%&'*+.^`|~-]+$/.test(name)) return;
  throw new RealizarError("ARG", `clientHeader: got ${JSON.stringify(name)}, expected the name of a header`);
}

/** An address as far as it tells senders apart: IPv4 whole, IPv6 by its site. */
export function siteOf(address: string): string {
  const plain = address.replace(/%.*$/s, "").toLowerCase();
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/.exec(plain)?.[1];
  if (mapped !== undefined) return mapped;
  if (!plain.includes(":")) return plain;
  const [head, tail] = plain.split("::").map((part) => part === "" ? [] : part.split(":"));
  const zeros = tail === undefined ? 0 : Math.max(0, 8 - head!.length - tail.length);
  const groups = [...head!, ...Array.from({ length: zeros }, () => "0"), ...tail ?? []];
  return `${groups.slice(0, SITE_GROUPS).map((group) => group.replace(/^0+(?=.)/, "")).join(":")}::/64`;
}

/**
 * The client's name: its API key (a hash), else what a proxy wrote into `header` last, else its address; empty where
 * nothing is known. Nothing that a client can choose for itself makes another one of it.
 */
export function clientOf(
  key: string | undefined,
  headers: Headers,
  header: string | undefined,
  sender: Sender | undefined,
): string {
  if (key !== undefined) return `key ${key}`;
  const told = header === undefined ? undefined : headers.get(header)?.split(",").at(-1)?.trim();
  if (told !== undefined && told !== "") return `proxy ${siteOf(told.slice(0, HEADER_LENGTH_MAX))}`;
  const address = sender?.address;
  return typeof address === "string" && address !== "" ? `address ${siteOf(address)}` : "";
}
