/** The scanner of JSON that comes in pieces, against the runtime's own parser. */
import { assert, assertEquals } from "@std/assert";
import { JsonScanner } from "../src/text/tools/json_scanner.ts";
import { Random } from "./random_blocks.ts";
import { test } from "./support.ts";

/** The index after the value's last character, or -1 for no JSON, or for none so far. */
function endOf(text: string): number {
  const scanner = new JsonScanner();
  for (let i = 0; i < text.length; i++) {
    const scan = scanner.push(text[i]!);
    if (scan !== "more") return scan === "end" ? i + 1 : -1;
  }
  return -1;
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

function randomValue(random: Random, depth: number): unknown {
  const kind = Math.floor(random.unit() * (depth > 3 ? 5 : 7));
  if (kind === 0) return [true, false, null][Math.floor(random.unit() * 3)];
  if (kind === 1) return Math.round((random.unit() - 0.5) * 1e6) / 10 ** Math.floor(random.unit() * 8);
  if (kind === 2) return 1e300 * random.unit();
  if (kind < 5) return ["", "a", 'q"\\\n\u0001', "é\u{1f600}", "/<tool_call>"][Math.floor(random.unit() * 5)];
  const inner = Array.from({ length: Math.floor(random.unit() * 4) }, () => randomValue(random, depth + 1));
  return kind === 5 ? inner : Object.fromEntries(inner.map((value, i) => [`k"${i}`, value]));
}

const CHARACTERS = '{}[]",:\\u0eE+-.19tfn \n\u0000x';

test("JSON scanner: values and damaged values end where the runtime's parser says", () => {
  const random = new Random(5);
  let nGood = 0, nBad = 0;
  for (let round = 0; round < 4000; round++) {
    const value = [randomValue(random, 0), { a: randomValue(random, 0) }][round % 2];
    let text = JSON.stringify(round % 2 === 0 ? [value] : value, null, Math.floor(random.unit() * 3));
    for (let n = round % 3; n > 0; n--) {
      const at = Math.floor(random.unit() * text.length);
      const char = CHARACTERS[Math.floor(random.unit() * CHARACTERS.length)]!;
      const cut = Math.floor(random.unit() * 2);
      text = text.slice(0, at) + (random.unit() < 0.7 ? char : "") + text.slice(at + cut);
    }
    const end = endOf(text);
    if (isJson(text) && /^\s*["[{]/.test(text)) {
      assertEquals(end, text.trimEnd().length, text);
      nGood++;
    } else {
      assert(end < text.trimEnd().length, text);
      // A value may end early, with something after it: then it is one by itself.
      if (end >= 0) assert(isJson(text.slice(0, end)), text);
      nBad++;
    }
  }
  assert(nGood > 1000 && nBad > 1000, `${nGood} good, ${nBad} damaged`);
});

test("JSON scanner: scalars alone have no end, and depth is bounded", () => {
  for (const text of ["1 ", "true ", "null,", "-", "", " "]) assertEquals(endOf(text), -1, text);
  assertEquals(endOf(' "a\\u00e9" '), 10);
  assertEquals(endOf("[".repeat(128) + "]".repeat(128)), 256);
  assertEquals(endOf("[".repeat(129) + "]".repeat(129)), -1);
});
