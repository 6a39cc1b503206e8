import { createHash } from "node:crypto";
import { assert, assertEquals } from "@std/assert";
import type { GenerationPart } from "../src/mod.ts";
import { type RunningServer, serve } from "../src/server/mod.ts";
import { BLOCKS_SCRIPT } from "../src/server/page/blocks.ts";
import { MARKDOWN_SCRIPT } from "../src/server/page/markdown.ts";
import { browserPath, openPage, type Page } from "./browser.ts";
import { fakeModel, type FakeScript, sleep } from "./server_fake.ts";
import { ask, closeTinyModel, NAME, tinyHandler } from "./server_support.ts";
import { leakCheck, test, testUnless } from "./support.ts";

test("page: one document, allowed by its hashes and nothing else, and nothing that reads text as HTML", async () => {
  const handler = await tinyHandler({ apiKeys: ["secret"] });
  const { status, headers, text } = await ask(handler, "/");
  assertEquals([status, headers.get("content-type")], [200, "text/html; charset=utf-8"]);
  const policy = headers.get("content-security-policy")!;
  for (const tag of ["script", "style"]) {
    const found = [...text.matchAll(new RegExp(`<${tag}>([^]*?)</${tag}>`, "g"))];
    assertEquals(found.length, 1, tag);
    const hash = createHash("sha256").update(found[0]![1]!).digest("base64");
    assert(policy.includes(`${tag}-src 'sha256-${hash}'`), policy);
  }
  assert(policy.startsWith("default-src 'none';") && !policy.includes("unsafe"), policy);
  assert(!/innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|srcdoc/.test(text));
  assert(!/ (on\w+|style)="|(src|href)="(?!data:)|https?:\/\/(?!www\.w3\.org)\w/.test(text), "loads something");
  const again = await handler(new Request("http://localhost/", { headers: { "if-none-match": headers.get("etag")! } }));
  assertEquals([again.status, await again.text()], [304, ""]);
  assert(text.length < 60_000);
});

type Tree = string | { tag: string; children: Tree[]; href?: string; language?: string; start?: number };

/** The parser as the page has it; it needs no document. */
function parse(text: string): Tree[] {
  const make = new Function(`${MARKDOWN_SCRIPT}${BLOCKS_SCRIPT}; return parseMarkdown;`);
  return (make() as (text: string) => { node: Tree }[])(text).map(({ node }) => node);
}

/** The tree, short: tag(children), with the target of a link. */
function short(tree: Tree): string {
  if (typeof tree === "string") return tree;
  const href = tree.href === undefined ? "" : `<${tree.href}>`;
  return `${tree.tag}${href}(${tree.children.map(short).join("")})`;
}

const CASES: readonly [text: string, tree: string][] = [
  ["plain *em* **strong** `code`", "p(plain em(em) strong(strong) code(code))"],
  ["a ** b * c _ d", "p(a ** b * c _ d)"],
  ["snake_case_name and 2*3*4", "p(snake_case_name and 2em(3)4)"],
  ["***both***", "p(strong(em(both)))"],
  ["~~gone~~ \\*not\\*", "p(del(gone) *not*)"],
  ["`` a ` b `` and `open", "p(code(a ` b) and `open)"],
  ["# Title\ntext\nmore", "h1(Title)|p(textbr()more)"],
  ["- a\n- b\n  - c\n- d", "ul(li(a)li(bul(li(c)))li(d))"],
  ["1. a\n2. b\n\ntext", "ol(li(a)li(b))|p(text)"],
  ["```js\nlet a = 1 < 2;\n```\nend", "pre(code(let a = 1 < 2;))|p(end)"],
  ["~~~\nnever closed\n# no title", "pre(code(never closed\n# no title))"],
  ["> quoted\n> twice\n\n---", "blockquote(p(quotedbr()twice))|hr()"],
  ["| a | b |\n|---|:-:|\n| 1 | *2* |", "div(table(thead(tr(th(a)th(b)))tbody(tr(td(1)td(em(2))))))"],
  [
    "[x](https://a.example/b_(c)) https://d.example/e.",
    "p(a<https://a.example/b_(c)>(x) a<https://d.example/e>(https://d.example/e).)",
  ],
  ["<img src=x onerror=alert(1)><script>", "p(<img src=x onerror=alert(1)><script>)"],
  ["[x](javascript:alert(1)) [y](JaVaScRiPt:a) [z](data:text/html,a)", "p(span(x) span(y) span(z))"],
  ['[x](  https://a.example "t") ![i](//evil.example/i.png)', "p(a<https://a.example>(x) span(i))"],
  ['[x](https://a"onclick=b) [y](vbscript:a)', "p(span(x) span(y))"],
  ["", ""],
  ["\r\n\r\n a\tb", "p( a    b)"],
];

test("page: Markdown becomes the right tree, and only safe links", () => {
  for (const [text, tree] of CASES) assertEquals(parse(text).map(short).join("|"), tree, text);
});

test("page: hostile Markdown takes no time that anyone would notice", () => {
  const pieces = [
    "[",
    "[a](",
    "*a ",
    "**a",
    "_",
    "`",
    "``a`",
    "~~",
    "> ",
    "- ",
    " ",
    "|",
    "-|",
    "https://",
    "![",
    "\\",
    "1. ",
  ];
  for (const piece of pieces) {
    for (const end of ["", "\n"]) {
      const startedAt = performance.now();
      assert(parse((piece + end).repeat(40_000 / (piece.length + end.length))).length >= 0);
      const ms = performance.now() - startedAt;
      assert(ms < 10_000, `${JSON.stringify(piece + end)} took ${ms} ms`);
    }
  }
});

const browser = browserPath();
const missing = browser === undefined ? "no chromium on this machine" : undefined;

async function withPage(
  script: FakeScript | undefined,
  run: (page: Page, server: RunningServer) => Promise<void>,
): Promise<void> {
  const options = script === undefined ? {} : { models: { [NAME]: await fakeModel(script) } };
  const server = await serve(await tinyHandler(options), { port: 0, shutdownMs: 100 });
  try {
    await using page = await openPage(browser!);
    await page.goto(`${server.url}/`);
    await page.until(`document.getElementById("model").value === "${NAME}"`);
    await run(page, server);
    assertEquals(page.errors, []);
  } finally {
    await server.shutdown();
  }
}

const IDLE = `document.getElementById("send").textContent === "Send"`;
const TEXTS = `[...document.querySelectorAll("article .text")].map((one) => one.textContent)`;

/** Tells what it was asked, then an attack, then goes on until it is ended. */
const ATTACK = `<img src=x onerror="window.hit=1"> <script>window.hit=1</script> **bold** [a](javascript:window.hit=1)`;
async function* endless(gate: AbortSignal): AsyncGenerator<GenerationPart> {
  yield { text: ATTACK, tokens: [1] };
  for (let i = 0; !gate.aborted; i++) {
    yield { text: ` w${i}`, tokens: [1] };
    await sleep(5);
  }
}

testUnless(
  missing,
  "page in a browser: by keyboard alone: asks, streams, stops; text stays text",
  () =>
    withPage(endless, async (page) => {
      await page.type("Hello");
      await page.press("Enter");
      await page.until(`document.querySelector("article.assistant").textContent.includes(" w20")`);
      assertEquals(await page.value(`document.getElementById("log").getAttribute("aria-busy")`), "true");
      assert(/tokens\/s/.test(await page.value(`document.getElementById("left").textContent`)));
      await page.press("Escape");
      await page.until(IDLE);
      const [question, answer] = await page.value(TEXTS) as string[];
      assertEquals(question, "Hello");
      assert(
        answer!.startsWith(`<img src=x onerror="window.hit=1"> <script>window.hit=1</script> bold a w0 w1`),
        answer,
      );
      const found = `document.querySelectorAll("article img, article script, article a").length`;
      assertEquals([await page.value(found), await page.value("window.hit ?? 0")], [0, 0]);
      assertEquals(await page.value(`document.querySelector("article strong").textContent`), "bold");
      assert((await page.value(`document.querySelector(".stats").textContent`) as string).includes("stopped"));
      // The text field still has the focus; the buttons of the page are reached by Tab, and have names.
      const focused = `(document.activeElement.getAttribute("aria-label") ?? document.activeElement.id)`;
      assertEquals(await page.value(focused), "input");
      await page.press("Tab", 8);
      assert(/copy|again/i.test(await page.value(focused)), await page.value(focused));
    }),
);

testUnless(
  missing,
  "page in a browser: a model answers; try again, edit, settings, a reload, a narrow dark screen",
  () =>
    withPage(undefined, async (page) => {
      const set = `for (const [id, value] of Object.entries({ temperature: 0, max_tokens: 12, system: "the rain" }))
      document.getElementById(id).value = value`;
      await page.value(`document.getElementById("open").click()`);
      await page.value(set);
      await page.value(`document.querySelector("dialog .main").click()`);
      await page.value(`document.getElementById("input").focus()`);
      await page.type("the rain in the end");
      await page.press("Enter");
      await page.until(`${IDLE} && document.querySelector(".stats")?.textContent.startsWith("12 tokens")`);
      const first = await page.value(TEXTS) as string[];
      await page.value(`[...document.querySelectorAll("article.assistant button")][0].click()`);
      await page.until(`${IDLE} && document.querySelectorAll("article").length === 2 &&
      document.querySelector(".stats").textContent.startsWith("12 tokens")`);
      assertEquals(await page.value(TEXTS), first, "greedy: the same again");
      await page.press("ArrowUp");
      await page.until(`document.activeElement.value === "the rain in the end"`);
      await page.type(" and more");
      await page.press("Enter");
      await page.until(`${IDLE} && ${TEXTS}[0] === "the rain in the end and more" && ${TEXTS}.length === 2 &&
      document.querySelector(".stats").textContent.startsWith("12 tokens")`);
      const changed = await page.value(TEXTS) as string[];
      await page.send("Emulation.setDeviceMetricsOverride", {
        width: 360,
        height: 640,
        deviceScaleFactor: 1,
        mobile: true,
      });
      const light = await page.value(`getComputedStyle(document.body).backgroundColor`);
      const features = [{ name: "prefers-color-scheme", value: "dark" }];
      await page.send("Emulation.setEmulatedMedia", { features });
      assert(light !== await page.value(`getComputedStyle(document.body).backgroundColor`));
      await page.send("Page.reload");
      await page.until(`document.readyState === "complete" && ${TEXTS}.length === 2`);
      assertEquals(await page.value(TEXTS), changed);
      assert(await page.value("document.documentElement.scrollWidth <= innerWidth"), "wider than the screen");
      await page.until(`document.getElementById("right").textContent.includes("0 running")`);
    }),
);

test("the model is closed", closeTinyModel);

leakCheck();
