/** The JSON body of a request, read under limits: bytes, depth, values, time without a byte and time in all. */
import { othersFirst, Turns } from "../turns.ts";
import { ApiError, invalid, tooLarge } from "./errors.ts";
import { parsePieces } from "./json_pieces.ts";
import { JsonScan, PIECE_BYTES } from "./json_scan.ts";
import type { Limits } from "./limits.ts";

/** Numbers are cheap: so many times as many as other values may be in a body. */
const NUMBERS_A_VALUE = 10;

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

/** The next chunk, or 408 when it does not come within the time, or before `deadline` of `performance.now()`. */
async function readChunk(
  reader: ReadableStreamDefaultReader<Uint8Array>,
  { bodyStallMs, bodyMs }: Limits,
  deadline: number,
): Promise<Uint8Array | undefined> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const leftMs = Math.max(0, deadline - performance.now());
  const late = new Promise<never>((_, reject) => {
    const message = leftMs < bodyStallMs
      ? `the body was not whole after ${bodyMs} ms`
      : `no byte of the body came for ${bodyStallMs} ms`;
    const headers = { connection: "close" }; // what comes late is not the next request
    const error = new ApiError(408, "invalid_request_error", "body_timeout", message, { headers });
    timer = setTimeout(() => reject(error), Math.min(leftMs, bodyStallMs));
  });
  try {
    const { done, value } = await Promise.race([reader.read(), late]);
    return done ? undefined : value;
  } finally {
    clearTimeout(timer);
  }
}

/** Takes a chunk into the scan, giving others their turn where it is long. */
async function measure(chunk: Uint8Array, scan: JsonScan, limits: Limits): Promise<void> {
  for (let at = 0; at < chunk.length; at += PIECE_BYTES) {
    if (at > 0) await othersFirst();
    scan.push(chunk.subarray(at, at + PIECE_BYTES));
    if (scan.depth > limits.jsonDepth) {
      throw invalid("body", `the body nests deeper than ${limits.jsonDepth} arrays and objects`, "json_too_deep");
    }
    if (scan.nValues > limits.jsonValues) {
      throw tooLarge(`the body has more than ${limits.jsonValues} strings, arrays and objects`);
    }
    const numbersMax = NUMBERS_A_VALUE * limits.jsonValues;
    if (scan.nCommas > numbersMax) throw tooLarge(`the body has more than ${numbersMax} values`);
  }
}

async function readBytes(
  body: ReadableStream<Uint8Array>,
  limits: Limits,
): Promise<{ bytes: Uint8Array; scan: JsonScan }> {
  const reader = body.getReader();
  const scan = new JsonScan(limits.jsonDepth);
  const chunks: Uint8Array[] = [];
  const deadline = performance.now() + limits.bodyMs;
  let nBytes = 0;
  try {
    for (;;) {
      const chunk = await readChunk(reader, limits, deadline);
      if (chunk === undefined) break;
      nBytes += chunk.length;
      if (nBytes > limits.bodyBytes) throw bodyTooLarge(limits);
      await measure(chunk, scan, limits);
      chunks.push(chunk);
    }
  } catch (error) {
    // What is still to come is of no interest; the answer does not wait for it.
    reader.cancel().catch(() => {});
    if (error instanceof ApiError) throw error;
    throw new ApiError(400, "invalid_request_error", "body_unreadable", "the body ended before its end");
  }
  const bytes = new Uint8Array(nBytes);
  const turns = new Turns();
  let at = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, at);
    at += chunk.length;
    if (turns.isOver) await turns.pass();
  }
  return { bytes, scan };
}

/** The body as JSON data. Throws {@linkcode ApiError}s: 400, 408, 413, 415. */
export async function readJson(request: Request, limits: Limits): Promise<unknown> {
  checkHeaders(request, limits);
  if (request.body === null) throw invalid("body", "the body is empty, expected a JSON object", "invalid_json");
  const { bytes, scan } = await readBytes(request.body, limits);
  try {
    if (bytes.length <= PIECE_BYTES) {
      return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes)) as unknown;
    }
    await othersFirst();
    const value = await parsePieces(bytes, scan);
    await othersFirst();
    return value;
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw invalid("body", `the body is not JSON in UTF-8: ${why}`, "invalid_json");
  }
}
