/** Bytes on a connection that are no honest HTTP: what may be answered, and what must never be taken for a request. */

/** What a hidden request asks for: it is heard of when a server falls for it. */
export const HIDDEN = "/version";

export interface RawCase {
  name: string;
  bytes: string;
  /** Statuses of the first answer that are right; 0 is a connection closed without one. */
  allowed: readonly number[];
}

const HOST = "Host: localhost\r\n";
const GET = `GET /livez HTTP/1.1\r\n${HOST}`;
const POST = `POST /tokenize HTTP/1.1\r\n${HOST}Content-Type: application/json\r\n`;
const HIDDEN_REQUEST = `GET ${HIDDEN} HTTP/1.1\r\n${HOST}\r\n`;
const BAD = [0, 400, 501, 505];
/** Two framings of one message: refused, or read by the one that RFC 9112 says, and then closed. */
const chunk = (text: string): string => `${text.length.toString(16)}\r\n${text}\r\n`;

/** Bodies whose end is told in two ways, or in none that is clear; what follows is hidden in one reading. */
const FRAMING: readonly [name: string, headers: string, body: string, allowed?: readonly number[]][] = [
  ["length and chunks", "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", `0\r\n\r\n${HIDDEN_REQUEST}`],
  ["chunks and length", "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", `0\r\n\r\n${HIDDEN_REQUEST}`],
  ["two lengths", "Content-Length: 2\r\nContent-Length: 70\r\n", `{}${HIDDEN_REQUEST}`],
  ["a list of lengths", "Content-Length: 2, 70\r\n", `{}${HIDDEN_REQUEST}`],
  ["a signed length", "Content-Length: +2\r\n", `{}${HIDDEN_REQUEST}`],
  ["a negative length", "Content-Length: -2\r\n", `{}${HIDDEN_REQUEST}`],
  ["a hexadecimal length", "Content-Length: 0x2\r\n", `{}${HIDDEN_REQUEST}`],
  ["a length with a fraction", "Content-Length: 2.0\r\n", `{}${HIDDEN_REQUEST}`],
  ["no length", "Content-Length: \r\n", `${HIDDEN_REQUEST}`],
  ["a length that no number holds", "Content-Length: 99999999999999999999999\r\n", "{}", [0, 400, 413]],
  ["a space before the colon", "Transfer-Encoding : chunked\r\n", `0\r\n\r\n${HIDDEN_REQUEST}`],
  ["an unknown coding", "Transfer-Encoding: xchunked\r\n", `0\r\n\r\n${HIDDEN_REQUEST}`],
  ["a coding after chunks", "Transfer-Encoding: chunked, identity\r\n", `0\r\n\r\n${HIDDEN_REQUEST}`],
  ["a folded coding", "Transfer-Encoding:\r\n chunked\r\n", `0\r\n\r\n${HIDDEN_REQUEST}`, [0, 400, 501]],
  ["chunks of a size that is none", "Transfer-Encoding: chunked\r\n", `zz\r\n{}\r\n0\r\n\r\n`],
  ["chunks of a negative size", "Transfer-Encoding: chunked\r\n", `-2\r\n{}\r\n0\r\n\r\n`],
  ["chunks of 2^68 bytes", "Transfer-Encoding: chunked\r\n", `100000000000000000\r\n{}\r\n0\r\n\r\n`, [0, 400, 413]],
  ["chunks with 0x", "Transfer-Encoding: chunked\r\n", `0x2\r\n{}\r\n0\r\n\r\n`],
  ["a chunk longer than its size", "Transfer-Encoding: chunked\r\n", `1\r\n{}\r\n0\r\n\r\n`],
  ["a chunk without its line end", "Transfer-Encoding: chunked\r\n", `2\r\n{}0\r\n\r\n`],
];

/** Heads that are none. */
const HEADS: readonly [name: string, bytes: string, allowed?: readonly number[]][] = [
  ["TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n"],
  ["HTTP/2 without asking", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", [0, 400, 404, 405, 505]],
  ["a version of the future", `GET / HTTP/9.9\r\n${HOST}\r\n`, [0, 400, 505]],
  ["no version", "GET /\r\n\r\n", [0, 400, 505, 200]],
  ["no method", ` /livez HTTP/1.1\r\n${HOST}\r\n`],
  ["a method that is none", `G\u0000T /livez HTTP/1.1\r\n${HOST}\r\n`],
  ["NUL in a path", `GET /li\u0000vez HTTP/1.1\r\n${HOST}\r\n`],
  ["NUL in a header", `${GET}X-A: a\u0000b\r\n\r\n`],
  ["a header without a name", `${GET}: a\r\n\r\n`],
  ["a header without a colon", `${GET}nothing here\r\n\r\n`],
  ["a header split by CR", `${GET}X-A: a\rX-B: b\r\n\r\n`, [0, 400, 200]],
  ["no Host", "GET /livez HTTP/1.1\r\n\r\n", [0, 400, 200]],
  ["two Hosts", `${GET}Host: evil.example\r\n\r\n`, [0, 400, 403]],
  ["a Host of elsewhere", "GET /livez HTTP/1.1\r\nHost: evil.example\r\n\r\n", [400, 403]],
  ["a Host that is none", "GET /livez HTTP/1.1\r\nHost: [\r\n\r\n", [0, 400, 403]],
  ["a Host with a path", "GET /livez HTTP/1.1\r\nHost: localhost/a\r\n\r\n", [0, 400, 403]],
  ["a Host with a user", "GET /livez HTTP/1.1\r\nHost: localhost@evil.example\r\n\r\n", [0, 400, 403]],
  ["an absolute address that is none", `GET http:// HTTP/1.1\r\n${HOST}\r\n`, [0, 400, 403, 404, 200]],
  ["another scheme", `GET file:///etc/passwd HTTP/1.1\r\n${HOST}\r\n`, [0, 400, 403, 404]],
  ["a proxy's request", `GET http://evil.example/livez HTTP/1.1\r\nHost: evil.example\r\n\r\n`, [0, 400, 403]],
  ["a tunnel", `CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\n\r\n`, [0, 400, 403, 404, 405, 501]],
  ["TRACE", `TRACE /livez HTTP/1.1\r\n${HOST}X-Secret: 1\r\n\r\n`, [0, 400, 405, 501]],
  ["OPTIONS of everything", `OPTIONS * HTTP/1.1\r\n${HOST}\r\n`, [0, 400, 404, 405]],
  ["dots to the root", `GET /../../etc/passwd HTTP/1.1\r\n${HOST}\r\n`, [0, 400, 404]],
  ["a long address", `GET /${"a".repeat(100_000)} HTTP/1.1\r\n${HOST}\r\n`, [0, 400, 404, 414, 431]],
  ["a long header", `${GET}X-A: ${"a".repeat(100_000)}\r\n\r\n`, [0, 400, 431]],
  ["many headers", `${GET}${Array.from({ length: 5000 }, (_, i) => `X-${i}: a\r\n`).join("")}\r\n`, [0, 400, 431]],
  ["a header that never ends", `${GET}X-A: ${"a".repeat(1 << 20)}`, [0, 400, 431]],
  ["an expectation nobody meets", `${GET}Expect: wonders\r\n\r\n`, [0, 200, 417]],
  ["an upgrade to HTTP/2", `${GET}Connection: Upgrade\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n`, [
    0,
    200,
    400,
  ]],
  [
    "an upgrade to a WebSocket",
    `${GET}Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n` +
    `Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n`,
    [0, 200, 400, 426],
  ],
];

/** All of them. */
export const RAW: readonly RawCase[] = [
  ...FRAMING.map(([name, headers, body, allowed = BAD]): RawCase => ({
    name: `a body with ${name}`,
    bytes: `${POST}${headers}\r\n${body}`,
    allowed,
  })),
  ...HEADS.map(([name, bytes, allowed = BAD]): RawCase => ({ name, bytes, allowed })),
  {
    name: "a body shorter than it says, and then nothing",
    bytes: `${POST}Content-Length: 100\r\n\r\n{"a":`,
    allowed: [0, 400, 408],
  },
  {
    name: "a body in chunks that stops",
    bytes: `${POST}Transfer-Encoding: chunked\r\n\r\n${chunk(`{"a":`)}`,
    allowed: [0, 400, 408],
  },
  {
    name: "a form that holds a request",
    bytes: `POST /tokenize HTTP/1.1\r\n${HOST}Content-Type: text/plain\r\n` +
      `Content-Length: ${HIDDEN_REQUEST.length}\r\n\r\n${HIDDEN_REQUEST}`,
    allowed: [415],
  },
  {
    name: "a body too large by its length, with a request in it",
    bytes: `${POST}Content-Length: 99999999\r\n\r\n${HIDDEN_REQUEST}`,
    allowed: [0, 413],
  },
];

/** Three requests in one piece: honest, and answered one after another. */
export const PIPELINED = `${GET}\r\n${POST}Content-Length: 2\r\n\r\n{}${GET}Connection: close\r\n\r\n`;
