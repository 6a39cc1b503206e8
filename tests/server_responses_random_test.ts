/** /v1/responses under seeded chance: streams that say what the whole says, and bodies that are wrong somewhere. */
import { assert, assertEquals } from "@std/assert";
import type { AnswerPart } from "../src/types.ts";
import { Random } from "./random_blocks.ts";
import { MODEL, served, type StreamEvent } from "./responses_support.ts";
import { call, type Script, text, thought } from "./scripted_model.ts";
import { ask } from "./server_support.ts";
import { leakCheck, test } from "./support.ts";

/** An answer of any shape: reasoning, texts and calls in any order, empty pieces and marks between them. */
function randomScript(random: Random): Script {
  const pieces: (AnswerPart | null)[] = [];
  let nCalls = 0;
  for (let n = random.below(8); n > 0; n--) {
    const kind = random.below(5);
    const words = Array.from({ length: random.below(4) }, (_, i) => `${i}é"\n`.slice(0, random.below(5)));
    if (kind === 0) pieces.push(null);
    else if (kind === 1) pieces.push(...words.map(thought));
    else if (kind === 2) pieces.push(...words.map(text));
    else {
      const made = call(nCalls, `call_${nCalls}`, "f", { a: words });
      // Sometimes a call has no arguments yet.
      pieces.push(...made.slice(0, random.below(4) === 0 ? 1 : 3));
      nCalls++;
    }
  }
  return { pieces, finishReason: random.below(4) === 0 ? "length" : "stop" };
}

interface Part {
  type: string;
  text: string;
}
interface Item {
  id: string;
  type: string;
  status: string;
  content?: Part[];
  arguments?: string;
}

/** What a client puts together from the events, by the API's documentation. */
function replay(events: readonly StreamEvent[]): { items: Item[]; done: Item[] } {
  const items: Item[] = [], done: Item[] = [];
  for (const event of events) {
    const item = items[event.output_index];
    if (event.type === "response.output_item.added") {
      assertEquals(event.output_index, items.length);
      assertEquals(done.length, items.length, "the item before it is done");
      items.push(event.item);
      continue;
    }
    if (event.output_index === undefined) continue;
    assertEquals(event.output_index, items.length - 1);
    if (event.item_id !== undefined) assertEquals(event.item_id, item!.id);
    const part = item!.content?.[event.content_index];
    if (event.type === "response.content_part.added") item!.content!.push(event.part);
    else if (event.type === "response.content_part.done") assertEquals(event.part.text, part!.text);
    else if (event.type === "response.output_item.done") done.push(event.item);
    else if (event.type === "response.function_call_arguments.delta") item!.arguments += event.delta;
    else if (event.type === "response.function_call_arguments.done") assertEquals(event.arguments, item!.arguments);
    else if (event.type.endsWith("_text.delta")) part!.text += event.delta;
    else if (event.type.endsWith("_text.done")) assertEquals(event.text, part!.text);
    else throw new Error(`an event that was not expected: ${event.type}`);
  }
  return { items, done };
}

test("responses: what a stream adds up to is what it ends with, and what the whole answer is", async () => {
  const random = new Random(17);
  for (let run = 0; run < 60; run++) {
    const script = randomScript(random);
    const { stream, respond } = served(script);
    const events = await stream();
    assertEquals(events.map(({ sequence_number }) => sequence_number), events.map((_, i) => i));
    const { items, done } = replay(events);
    const { response } = events.at(-1)!;
    assertEquals(done, response.output);
    const plain = (list: readonly Item[]) =>
      list.map(({ type, content, arguments: json }) => [type, content?.map((part) => part.text), json]);
    assertEquals(plain(items), plain(done));
    const { json } = await respond();
    assertEquals(plain(json.output), plain(done));
    assertEquals([json.status, json.usage], [response.status, response.usage]);
    const told = (kind: "text" | "reasoning"): string =>
      script.pieces.map((piece) => piece?.kind === kind ? piece.text : "").join("");
    const texts = (type: string): string =>
      done.filter((item) => item.type === type).map(({ content }) => content![0]!.text).join("");
    assertEquals([texts("message"), texts("reasoning")], [told("text"), told("reasoning")]);
    const statuses = done.map(({ status }) => status);
    const isCut = script.finishReason === "length";
    assertEquals(statuses, statuses.map((_, i) => isCut && i === statuses.length - 1 ? "incomplete" : "completed"));
  }
});

const GOOD = {
  model: MODEL,
  instructions: "be kind",
  input: [
    { role: "user", content: [{ type: "input_text", text: "hi" }] },
    { type: "reasoning", id: "rs", summary: [{ type: "summary_text", text: "s" }], content: [] },
    { type: "message", role: "assistant", content: [{ type: "output_text", text: "a", annotations: [] }] },
    { type: "function_call", call_id: "c", name: "f", arguments: "{}" },
    { type: "function_call_output", call_id: "c", output: "x" },
  ],
  tools: [{
    type: "function",
    name: "f",
    description: "d",
    parameters: { type: "object", properties: {} },
    strict: true,
  }],
  tool_choice: { type: "allowed_tools", mode: "auto", tools: [{ type: "function", name: "f" }] },
  text: { format: { type: "json_schema", name: "n", schema: { type: "object" }, strict: true }, verbosity: "medium" },
  include: ["message.output_text.logprobs"],
  top_logprobs: 2,
  metadata: { a: "b" },
  reasoning: { effort: null },
  max_output_tokens: 5,
  temperature: 0.5,
  stream: false,
  store: false,
};
const JUNK: readonly unknown[] = [null, 0, -1, 1.5, 2 ** 60, "", "x", "function", true, false, [], {}, [[]], [null], {
  type: "x",
}, { __proto__x: 1 }];

/** Replaces, removes or adds something at a place of a copy. */
function spoil(value: unknown, random: Random): unknown {
  const junk = (): unknown => JUNK[random.below(JUNK.length)];
  if (typeof value !== "object" || value === null || random.below(6) === 0) return junk();
  const copy: Record<string, unknown> = Array.isArray(value) ? [...value] as never : { ...value };
  const keys = Object.keys(copy);
  const key = keys[random.below(Math.max(1, keys.length))];
  const action = random.below(8);
  if (key === undefined || action === 0) copy[Array.isArray(copy) ? String(keys.length) : "extra"] = junk();
  else if (action === 1 && !Array.isArray(copy)) delete copy[key];
  else copy[key] = spoil(copy[key], random);
  return copy;
}

test("responses: a body that is spoilt somewhere is answered or refused, and never fails the server", async () => {
  const failures: unknown[] = [];
  const { handler } = served({ pieces: [text("a")] }, [], { onError: (error) => failures.push(error) });
  assertEquals((await ask(handler, "/v1/responses", GOOD)).status, 200);
  const random = new Random(23);
  const statuses = new Map<number, number>();
  for (let run = 0; run < 600; run++) {
    const body = spoil(GOOD, random);
    const { status, json } = await ask(handler, "/v1/responses", JSON.stringify(body) ?? "null");
    statuses.set(status, (statuses.get(status) ?? 0) + 1);
    assert([200, 400, 404].includes(status), `${status} for ${JSON.stringify(body)}`);
    if (status !== 200) assert(typeof json.error.param === "string", `no field for ${JSON.stringify(body)}`);
  }
  assertEquals(failures, []);
  assert(statuses.get(200)! > 30 && statuses.get(400)! > 300, JSON.stringify([...statuses]));
});

leakCheck();
