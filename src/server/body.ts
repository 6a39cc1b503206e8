/** The JSON body of a request, read under limits: bytes, depth, and time without a byte. */
import { ApiError, invalid, tooLarge } from "./errors.ts";
import type { Limits } from "./limits.ts";

const QUOTE = 0x22, BACKSLASH = 0x5c;
const BRACKET = 0x5b, BRACE = 0x7b;
/** From an opening bracket or brace to its closing one. */
const TO_CLOSING = 2;
/** Bytes that are looked at in one go: about a millisecond at the worst, which is a quote every other byte. */
const SLICE_BYTES = 1 << 16;

/** Counts how deep JSON nests, chunk by chunk, before anything is parsed: parsers may use the stack. */
class DepthMeter {
  #depth = 0;
  #max = 0;
  #inString = false;
  /** The next byte is escaped. */
  #escaped = false;

  get max(): number {
    return this.#max;
  }

  push(bytes: Uint8Array): void {
    let at = 0;
    while (at < bytes.length) at = this.#inString ? this.#pastString(bytes, at) : this.#pastStructure(bytes, at);
  }

  /** Goes on in a string; returns where it ends, or the end. Long strings are most of a long body. */
  #pastString(bytes: Uint8Array, start: number): number {
    const first = this.#escaped ? start + 1 : start;
    this.#escaped = false;
    const quote = bytes.indexOf(QUOTE, first);
    const end = quote < 0 ? bytes.length : quote;
    let nBackslashes = 0;
    while (end - nBackslashes > first && bytes[end - nBackslashes - 1] === BACKSLASH) nBackslashes++;
    const escapes = nBackslashes % 2 === 1;
    if (quote < 0) this.#escaped = escapes;
    else if (!escapes) this.#inString = false;
    return end + 1;
  }

  /** Goes on outside of strings; returns where the next one begins, or the end. */
  #pastStructure(bytes: Uint8Array, start: number): number {
    for (let i = start; i < bytes.length; i++) {
      const byte = bytes[i];
      if (byte === QUOTE) {
        this.#inString = true;
        return i + 1;
      }
      if (byte === BRACKET || byte === BRACE) this.#max = Math.max(this.#max, ++this.#depth);
      else if (byte === BRACKET + TO_CLOSING || byte === BRACE + TO_CLOSING) this.#depth--;
    }
    return bytes.length;
  }
}

function checkHeaders(request: Request, limits: Limits): void {
  const type = request.headers.get("content-type")?.replace(/;.*$/s, "").trim().toLowerCase();
  if (type !== "application/json") {
    const got = type === undefined ? "no content-type" : `content-type ${JSON.stringify(type)}`;
    throw new ApiError(415, "invalid_request_error", "unsupported_media_type", `got ${got}, expected application/json`);
  }
  const encoding = request.headers.get("content-encoding")?.trim().toLowerCase() ?? "identity";
  if (encoding !== "identity") {
    const message = `content-encoding ${JSON.stringify(encoding)} is not supported`;
    throw new ApiError(415, "invalid_request_error", "unsupported_media_type", message);
  }
  const length = Number(request.headers.get("content-length") ?? 0);
  if (length > limits.bodyBytes) throw bodyTooLarge(limits);
}

function bodyTooLarge(limits: Limits): ApiError {
  return tooLarge(`the body is larger than ${limits.bodyBytes} bytes`);
}

/** The next chunk, or 408 when it does not come. */
async function readChunk(
  reader: ReadableStreamDefaultReader<Uint8Array>,
  stallMs: number,
): Promise<Uint8Array | undefined> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const stalled = new Promise<never>((_, reject) => {
    const message = `no byte of the body came for ${stallMs} ms`;
    const headers = { connection: "close" }; // what comes late is not the next request
    const error = new ApiError(408, "invalid_request_error", "body_timeout", message, { headers });
    timer = setTimeout(() => reject(error), stallMs);
  });
  try {
    const { done, value } = await Promise.race([reader.read(), stalled]);
    return done ? undefined : value;
  } finally {
    clearTimeout(timer);
  }
}

/** Takes a chunk into the depth, giving others their turn where it is long. */
async function measure(chunk: Uint8Array, depth: DepthMeter, limits: Limits): Promise<void> {
  for (let at = 0; at < chunk.length; at += SLICE_BYTES) {
    if (at > 0) await new Promise((resolve) => setTimeout(resolve, 0));
    depth.push(chunk.subarray(at, at + SLICE_BYTES));
    if (depth.max <= limits.jsonDepth) continue;
    throw invalid("body", `the body nests deeper than ${limits.jsonDepth} arrays and objects`, "json_too_deep");
  }
}

async function readBytes(body: ReadableStream<Uint8Array>, limits: Limits): Promise<Uint8Array> {
  const reader = body.getReader();
  const depth = new DepthMeter();
  const chunks: Uint8Array[] = [];
  let nBytes = 0;
  try {
    for (;;) {
      const chunk = await readChunk(reader, limits.bodyStallMs);
      if (chunk === undefined) break;
      nBytes += chunk.length;
      if (nBytes > limits.bodyBytes) throw bodyTooLarge(limits);
      await measure(chunk, depth, limits);
      chunks.push(chunk);
    }
  } catch (error) {
    // What is still to come is of no interest; the answer does not wait for it.
    reader.cancel().catch(() => {});
    if (error instanceof ApiError) throw error;
    throw new ApiError(400, "invalid_request_error", "body_unreadable", "the body ended before its end");
  }
  const bytes = new Uint8Array(nBytes);
  let at = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, at);
    at += chunk.length;
  }
  return bytes;
}

/** The body as JSON data. Throws {@linkcode ApiError}s: 400, 408, 413, 415. */
export async function readJson(request: Request, limits: Limits): Promise<unknown> {
  checkHeaders(request, limits);
  if (request.body === null) throw invalid("body", "the body is empty, expected a JSON object", "invalid_json");
  const bytes = await readBytes(request.body, limits);
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes)) as unknown;
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw invalid("body", `the body is not JSON in UTF-8: ${why}`, "invalid_json");
  }
}
