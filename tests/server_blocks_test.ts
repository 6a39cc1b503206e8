/** Content blocks of Anthropic's API over random answers: the events, replayed as a client does, are the blocks. */
import { assert, assertEquals } from "@std/assert";
import type { AnswerPart } from "../src/mod.ts";
import { type Block, BlockBuilder, type BlockEvent } from "../src/server/anthropic/blocks.ts";
import { Random } from "./random_blocks.ts";
import { test } from "./support.ts";

const TEXTS = ["", " ", "\n\n", "a", "Hello ", " é", "😀", " b\n"];
const JSONS = [["{}"], [`{"a":`, "", `"x"}`], [`{"a"`], ["[", "1]"], []];

/** Parts as an answer may have them: in any order, calls numbered. */
function randomParts(random: Random): AnswerPart[] {
  const pick = <T>(list: readonly T[]): T => list[random.below(list.length)]!;
  const parts: AnswerPart[] = [];
  let nCalls = 0;
  for (let n = random.below(12); n > 0; n--) {
    const kind = pick(["text", "text", "reasoning", "call"] as const);
    if (kind !== "call") parts.push({ kind, text: pick(TEXTS) });
    else {
      const index = nCalls++;
      parts.push({ kind: "toolCall", index, id: `c${index}`, name: "f" });
      for (const json of pick(JSONS)) parts.push({ kind: "toolArguments", index, json });
    }
  }
  return parts;
}

/** What a client makes of the events; throws where one is out of order. */
function replay(events: readonly BlockEvent[]): { type: string; told: string }[] {
  const blocks: { type: string; told: string }[] = [];
  let isOpen = false;
  for (const event of events) {
    if (event.type === "content_block_start") {
      assert(!isOpen && event.index === blocks.length, "one block at a time, numbered");
      blocks.push({ type: event.content_block.type, told: "" });
      isOpen = true;
      continue;
    }
    assert(isOpen && event.index === blocks.length - 1, "of the block that is open");
    if (event.type === "content_block_stop") isOpen = false;
    else blocks.at(-1)!.told += event.delta.text ?? event.delta.thinking ?? event.delta.partial_json ?? "";
  }
  assert(!isOpen, "every block ends");
  return blocks;
}

function toldBy(block: Block): string {
  if (block.type === "text") return block.text;
  return block.type === "thinking" ? block.thinking : JSON.stringify(block.input);
}

function parsed(json: string): unknown {
  try {
    return JSON.parse(json);
  } catch {
    return {};
  }
}

test("anthropic blocks: events replayed are the blocks; nothing visible is lost, none is blank", () => {
  const random = new Random(5);
  for (let round = 0; round < 500; round++) {
    const parts = randomParts(random);
    const builder = new BlockBuilder(true);
    const events = [...parts.flatMap((part) => [...builder.push(part)]), ...builder.end()];
    const shown = `round ${round}: ${JSON.stringify(parts)}`;
    const blocks = replay(events);
    assertEquals(blocks.map(({ type }) => type), builder.blocks.map(({ type }) => type), shown);
    for (const [i, { type, told }] of blocks.entries()) {
      const block = builder.blocks[i]!;
      assertEquals(type === "tool_use" ? JSON.stringify(parsed(told)) : told, toldBy(block), shown);
      assert(type === "tool_use" || type === "thinking" || told.trim() !== "", `a blank text, ${shown}`);
    }
    const visible = (text: string): string => text.replaceAll(/\s/g, "");
    const texts = parts.map((part) => part.kind === "text" ? part.text : "").join("");
    const told = blocks.map(({ type, told }) => type === "text" ? told : "").join("");
    assertEquals(visible(told), visible(texts), shown);
    const nCalls = parts.filter(({ kind }) => kind === "toolCall").length;
    assertEquals([builder.blocks.filter(({ type }) => type === "tool_use").length, builder.hasCalls], [
      nCalls,
      nCalls > 0,
    ]);
  }
});

test("anthropic blocks: thinking that is not shown begins and ends, without its text", () => {
  const builder = new BlockBuilder(false);
  const parts: AnswerPart[] = [{ kind: "reasoning", text: "secret" }, { kind: "text", text: "so" }];
  const events = [...parts.flatMap((part) => [...builder.push(part)]), ...builder.end()];
  assertEquals(replay(events), [{ type: "thinking", told: "" }, { type: "text", told: "so" }]);
  assert(!JSON.stringify([events, builder.blocks]).includes("secret"));
});
