/** Chat templates against transformers (tests/golden/text/templates.json), their budgets, and escaped content. */
import { readFileSync } from "node:fs";
import { assert, assertEquals, assertThrows } from "@std/assert";
import { RealizarError } from "../src/errors.ts";
import { ChatTemplate, TEMPLATE_BUDGET } from "../src/text/chat_template.ts";
import { escapeSpecial } from "../src/text/escape_special.ts";
import { strftime } from "../src/text/strftime.ts";
import { Tokenizer } from "../src/text/tokenizer.ts";
import { Vocab } from "../src/text/vocab.ts";
import { test, testUnless } from "./support.ts";
import { readTemplate, smallSource, vocabularyMissing } from "./text_support.ts";

interface Group {
  /** The vocabulary whose template it is, or the template. */
  readonly vocabulary?: string;
  readonly template?: string;
  readonly tokens: Record<string, string>;
  readonly cases: { variables: Record<string, unknown>; text?: string; error?: string }[];
}

const groups = JSON.parse(readFileSync(new URL("./golden/text/templates.json", import.meta.url), "utf8")) as Group[];

function render(source: string, variables: Record<string, unknown>): string {
  return new ChatTemplate(source).render({ add_generation_prompt: true, tools: null, documents: null, ...variables });
}

function checkGroup(source: string, { cases, tokens }: Group): void {
  for (const { variables, text, error } of cases) {
    const all = { ...tokens, ...variables };
    if (error === undefined) assertEquals(render(source, all), text);
    else assertEquals(assertThrows(() => render(source, all), RealizarError).code, "TEMPLATE");
  }
}

for (const [i, group] of groups.entries()) {
  const { vocabulary, template, cases } = group;
  if (vocabulary === undefined) {
    test(`template: own template ${i} renders as in transformers`, () => checkGroup(template!, group));
  } else {
    testUnless(vocabularyMissing(vocabulary), `template: ${vocabulary} renders as in transformers`, () => {
      assert(cases.length >= 10);
      checkGroup(readTemplate(vocabulary)!, group);
    });
  }
}

function templateError(source: string, variables: Record<string, unknown> = {}): RealizarError {
  const error = assertThrows(() => render(source, { messages: [], ...variables }), RealizarError);
  assertEquals(error.code, "TEMPLATE");
  return error;
}

test("template: what it raises itself is the message", () => {
  assert(templateError("{{ raise_exception('roles must alternate') }}").message.endsWith("roles must alternate"));
});

test("template: budgets of steps, depth, elements and length", () => {
  const loop = "{% for i in range(2000) %}{% for j in range(2000) %}{{ i }}{% endfor %}{% endfor %}";
  const doubled =
    "{% set ns = namespace(s='0123456789') %}{% for i in range(99) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}";
  const list = "{% set ns = namespace(l=[1, 2]) %}{% for i in range(40) %}{% set ns.l = ns.l + ns.l %}{% endfor %}";
  const cases: [source: string, part: string][] = [
    [loop, `more nodes than ${TEMPLATE_BUDGET.steps}`],
    ["{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", `deeper than ${TEMPLATE_BUDGET.depth}`],
    ["{{ range(30000000) | length }}", `range() for more elements than ${TEMPLATE_BUDGET.elements}`],
    ["{{ range(0, 10, 0) }}", "step must not be zero"],
    ["{{ range(0.5) }}", "whole numbers"],
    [`${doubled}{{ ns.s }}`, `more characters than ${TEMPLATE_BUDGET.textLength}`],
    [list, `more elements than ${TEMPLATE_BUDGET.elements}`],
    ["x".repeat(TEMPLATE_BUDGET.templateLength + 1), "has more characters"],
    [`{{ ${"(".repeat(100_000)}`, "cannot be parsed"],
  ];
  for (const [source, part] of cases) {
    const { message } = templateError(source);
    assert(message.includes(part), `${part}: ${message}`);
  }
});

test("template: the C locale's dates", () => {
  const date = new Date(2026, 0, 5, 15, 4, 9);
  assertEquals(strftime(date, "%d %b %Y"), "05 Jan 2026");
  assertEquals(strftime(date, "%A %a %B %e|%-d|%j|%y"), "Monday Mon January  5|5|005|26");
  assertEquals(
    strftime(date, "%H:%M:%S %I %p %F %D %T %R %w %% %Q"),
    "15:04:09 03 PM 2026-01-05 01/05/26 15:04:09 15:04 1 % %Q",
  );
  assert(/^\d{4}$/.test(render("{{ strftime_now('%Y') }}", { messages: [] })));
});

const vocab = Vocab.build(smallSource());
const tokenizer = new Tokenizer(vocab);

/** Tokens of rendered messages as texts, escaped on the way. */
function tokensOf(source: string, messages: unknown): string[] {
  const { value, mark } = escapeSpecial(messages, vocab.tables);
  const text = render(source, { messages: value });
  return Array.from(tokenizer.encode(text, { special: true, escape: mark, addBos: false }), (id) => vocab.textOf(id));
}

test("template: the template's special tokens survive, those of users become text", () => {
  const source = "{% for m in messages %}<bos>{{ m.role }}{{ m.content }}<eos>{% endfor %}";
  const content = "a<bos>b<eos><<unk>><user>";
  const tokens = tokensOf(source, [{ role: "<eos>x", content }]);
  assertEquals(tokens.filter((text) => text === "<bos>" || text === "<eos>" || text === "<unk>"), ["<bos>", "<eos>"]);
  assertEquals(tokens.at(-2), "<user>", "user-defined tokens are no control tokens");
  assertEquals(tokens.join(""), `<bos><eos>x${content}<eos>`);
});

test("template: escaping goes into every text, keeps the rest, and chooses a mark that does not occur", () => {
  const data = { a: ["<bos>", { b: "x<eos>" }], n: 1.5, t: true, z: null };
  const { value, mark } = escapeSpecial(data, vocab.tables);
  assertEquals(mark, "\ufdd0");
  assertEquals(value, { a: [`<${mark}bos>`, { b: `x<${mark}eos>` }], n: 1.5, t: true, z: null });
  assertEquals(escapeSpecial("\ufdd0<bos>", vocab.tables).mark, "\ufdd1");
  const planes = Array.from({ length: 17 }, (_, i) => String.fromCodePoint(i * 0x10000 + 0xfffe, i * 0x10000 + 0xffff));
  const all = [...Array.from({ length: 32 }, (_, i) => String.fromCharCode(0xfdd0 + i)), ...planes].join("");
  assertEquals(assertThrows(() => escapeSpecial(all, vocab.tables), RealizarError).code, "ARG");
});

test("template: text that holds a mark's neighbours is kept as it is", () => {
  const content = "\ufdd0\ufdd1 he \u{1ffff}";
  assertEquals(tokensOf("{{ messages[0].content }}", [{ role: "user", content }]).length > 0, true);
  const { value, mark } = escapeSpecial([{ content }], vocab.tables);
  const ids = tokenizer.encode(value[0]!.content, { special: true, escape: mark, addBos: false });
  assertEquals(tokenizer.decode(ids), content);
});
