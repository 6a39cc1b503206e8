import { assertEquals } from "@std/assert";
import { Output } from "../src/engine/output.ts";
import { test } from "./support.ts";

/** Tokens are indexes into these pieces. */
function pieces(texts: string[]) {
  return { push: (token: number) => texts[token]!, flush: () => "" };
}

/** What is shown after each piece, and the stop string. */
function show(texts: string[], stops: string[]): { shown: string[]; stop: string | undefined } {
  const output = new Output(pieces(texts), stops);
  const shown: string[] = [];
  for (let i = 0; i < texts.length && output.stop === undefined; i++) shown.push(output.push(i));
  if (output.stop === undefined) shown.push(output.finish());
  return { shown, stop: output.stop };
}

test("output: without stop strings every piece is shown at once", () => {
  assertEquals(show(["Hel", "lo"], []), { shown: ["Hel", "lo", ""], stop: undefined });
});

test("output: what could begin a stop string is held back, then shown when it does not go on", () => {
  assertEquals(show(["a EN", "T"], ["END"]).shown, ["a ", "ENT", ""]);
  assertEquals(show(["a EN"], ["END"]).shown, ["a ", "EN"]);
});

test("output: a stop string over several pieces ends the text before it", () => {
  assertEquals(show(["one\n", "\nU", "ser: two"], ["\n\nUser:"]), { shown: ["one", "", ""], stop: "\n\nUser:" });
});

test("output: the first stop string in the text wins, and its text is not shown", () => {
  assertEquals(show(["a, b; c"], [";", ","]), { shown: ["a"], stop: "," });
});

test("output: overlapping beginnings are held as long as one can still match", () => {
  assertEquals(show(["aab", "c"], ["aabb", "abc"]), { shown: ["", "a"], stop: "abc" });
});

test("output: the whole text is the same whatever the pieces", () => {
  const text = "xxabababcyy";
  for (let cut = 1; cut < text.length; cut++) {
    const { shown, stop } = show([text.slice(0, cut), text.slice(cut)], ["ababc"]);
    assertEquals([shown.join(""), stop], ["xxab", "ababc"], `cut at ${cut}`);
  }
});
