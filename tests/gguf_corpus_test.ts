/** Hostile and odd GGUF files, all through one function in one process, which must survive. */
import { assert, assertEquals } from "@std/assert";
import { prepareModel } from "../src/engine/prepare.ts";
import { RealizarError } from "../src/errors.ts";
import { type CorpusCase, hostileCases, oddCases } from "./corpus/gguf/make_corpus.ts";
import { test } from "./support.ts";

/** Loads a file and frees it again. */
async function loadAny(bytes: Uint8Array): Promise<void> {
  await prepareModel({ kind: "bytes", bytes });
}

/** What happens with a case, when it is not what must happen. */
async function surprise({ name, expect, message, bytes }: CorpusCase): Promise<string[]> {
  try {
    await loadAny(bytes);
  } catch (thrown) {
    if (!(thrown instanceof RealizarError)) return [`${name}: threw ${(thrown as Error)?.stack ?? thrown}`];
    if (thrown.code !== expect) return [`${name}: ${thrown.code}, expected ${expect}: ${thrown.message}`];
    const told = [thrown.message, ...thrown.problems].join("\n");
    if (message !== undefined && !message.test(told)) return [`${name}: expected ${message} in: ${told}`];
    return [];
  }
  return expect === "OK" ? [] : [`${name}: loaded, expected ${expect}`];
}

async function surprises(cases: readonly CorpusCase[]): Promise<string[]> {
  const found: string[] = [];
  for (const one of cases) found.push(...await surprise(one));
  return found;
}

test("corpus: at least 120 hostile and 20 odd files, each with a name of its own", () => {
  const hostile = hostileCases();
  const odd = oddCases();
  assert(hostile.length >= 120, `${hostile.length} hostile files`);
  assert(odd.length >= 20, `${odd.length} odd files`);
  const names = [...hostile, ...odd].map((one) => one.name);
  assertEquals(names.filter((name, i) => names.indexOf(name) !== i), []);
});

test("corpus: every hostile file is refused with its own error", async () => {
  assertEquals(await surprises(hostileCases()), []);
});

test("corpus: every odd file loads", async () => {
  assertEquals(await surprises(oddCases()), []);
});
