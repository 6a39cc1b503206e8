/**
 * The chat page at `/`: one document with its style and script inside, allowed by their hashes and nothing else. It
 * asks the API of the server it came from, by relative addresses, and so works behind a path of a proxy.
 */
import { createHash } from "node:crypto";
import type { Route, RouteContext } from "../route.ts";
import { APP_SCRIPT } from "./app.ts";
import { BLOCKS_SCRIPT } from "./blocks.ts";
import { CLIENT_SCRIPT } from "./client.ts";
import { MARKDOWN_SCRIPT } from "./markdown.ts";
import { STYLE } from "./style.ts";
import { VIEW_SCRIPT } from "./view.ts";

const ICON = "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 32 32'%3E" +
  "%3Crect width='32' height='32' rx='8' fill='%230b6257'/%3E%3Cpath d='M10 23V10h7a4 4 0 0 1 0 8h-7m6 0 6 5' " +
  "fill='none' stroke='%23fff' stroke-width='3'/%3E%3C/svg%3E";

/** A number of the settings: its name in the API, its words, and its range. */
const NUMBERS: readonly [name: string, label: string, attributes: string][] = [
  ["temperature", "Temperature", `min="0" max="100" step="any"`],
  ["top_p", "Top p", `min="0" max="1" step="any"`],
  ["top_k", "Top k", `min="0" step="1"`],
  ["min_p", "Min p", `min="0" max="1" step="any"`],
  ["max_tokens", "Tokens at most", `min="1" step="1"`],
  ["seed", "Seed", `min="0" step="1"`],
];

function numberField([name, label, attributes]: (typeof NUMBERS)[number]): string {
  return `<label>${label}<input id="${name}" type="number" inputmode="decimal" placeholder="default" ${attributes}>` +
    "</label>";
}

const BODY = `<header>
<h1>realizar<small id="status" role="status"></small></h1>
<select id="model" aria-label="Model"></select>
<button type="button" id="new">New</button>
<button type="button" id="open">Settings</button>
</header>
<main><div id="log" role="log" aria-label="Conversation"></div></main>
<footer>
<form id="composer">
<label class="hidden" for="input">Message</label>
<textarea id="input" rows="1" placeholder="Message" autocomplete="off"></textarea>
<button class="main" id="send" aria-label="Send the message">Send</button>
</form>
<p><span id="left"></span><span id="right"></span></p>
</footer>
<dialog id="settings" aria-labelledby="settings-title">
<form method="dialog">
<h2 id="settings-title">Settings</h2>
<label>System prompt<textarea id="system" rows="3"></textarea></label>
<div class="grid">${NUMBERS.map(numberField).join("")}</div>
<label>API key<input id="apiKey" type="password" autocomplete="off"></label>
<label>Appearance<select id="theme"><option value="">As the system</option><option value="light">Light</option>
<option value="dark">Dark</option></select></label>
<div class="end"><button type="button" id="reset">Reset</button>
<button value="cancel" formnovalidate>Cancel</button><button class="main" value="save">Save</button></div>
</form>
</dialog>
<noscript>This page needs JavaScript; the API does not.</noscript>`;

interface Page {
  html: string;
  headers: Readonly<Record<string, string>>;
}

function hashOf(text: string): string {
  return `'sha256-${createHash("sha256").update(text).digest("base64")}'`;
}

function makePage(): Page {
  // Functions are known everywhere; what runs at once comes last, and uses constants of the parts before it.
  const parts = [MARKDOWN_SCRIPT, BLOCKS_SCRIPT, CLIENT_SCRIPT, VIEW_SCRIPT, APP_SCRIPT];
  const script = `"use strict";(()=>{${parts.join("")}})();`;
  const html = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>realizar</title>
<link rel="icon" href="${ICON}">
<style>${STYLE}</style>
</head>
<body>
${BODY}
<script>${script}</script>
</body>
</html>
`;
  const policy = [
    "default-src 'none'",
    `script-src ${hashOf(script)}`,
    `style-src ${hashOf(STYLE)}`,
    "img-src data:",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ];
  const headers = {
    "content-type": "text/html; charset=utf-8",
    "content-security-policy": policy.join("; "),
    "cross-origin-opener-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
    etag: `"${createHash("sha256").update(html).digest("hex").slice(0, 32)}"`,
  };
  return { html, headers };
}

let page: Page | undefined;

function answer({ request }: RouteContext): Response {
  page ??= makePage();
  const { html, headers } = page;
  if (request.headers.get("if-none-match") === headers["etag"]) return new Response(null, { status: 304, headers });
  return new Response(html, { headers });
}

/** The page; it is open, since it asks for a key only when the server asks it for one. */
export const PAGE_ROUTES: readonly Route[] = [{ method: "GET", path: "/", open: true, answer }];
