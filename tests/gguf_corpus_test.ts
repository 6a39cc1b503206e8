/** Hostile and odd GGUF files, all in one process, which must survive. */
import { assert, assertEquals } from "@std/assert";
import { prepareModel } from "../src/engine/prepare.ts";
import { Model, RealizarError } from "../src/mod.ts";
import { type CorpusCase, hostileCases, oddCases } from "./corpus/gguf/make_corpus.ts";
import { leakCheck, test } from "./support.ts";

/** Loads a file and frees it again. */
type Load = (bytes: Uint8Array) => Promise<void>;

/** All that is decided before native code sees a model; takes a millisecond. */
const prepare: Load = async (bytes) => void await prepareModel({ kind: "bytes", bytes });

/** The public API, with its two Workers and the native library. */
const load: Load = async (bytes) => {
  const model = await Model.load(bytes, { device: "ref", contextSize: 16, maxSequences: 1 });
  await model.close();
};

/** What happens with a case, when it is not what must happen. */
async function surprise({ name, expect, message, bytes }: CorpusCase, how: Load): Promise<string[]> {
  try {
    await how(bytes);
  } catch (thrown) {
    if (!(thrown instanceof RealizarError)) return [`${name}: threw ${(thrown as Error)?.stack ?? thrown}`];
    if (thrown.code !== expect) return [`${name}: ${thrown.code}, expected ${expect}: ${thrown.message}`];
    const told = [thrown.message, ...thrown.problems].join("\n");
    if (message !== undefined && !message.test(told)) return [`${name}: expected ${message} in: ${told}`];
    return [];
  }
  return expect === "OK" ? [] : [`${name}: loaded, expected ${expect}`];
}

async function surprises(cases: readonly CorpusCase[], how: Load): Promise<string[]> {
  const found: string[] = [];
  for (const one of cases) found.push(...await surprise(one, how));
  return found;
}

/** At least `n` of the cases, evenly spread. */
function spread(cases: readonly CorpusCase[], n: number): CorpusCase[] {
  return cases.filter((_, i) => Math.floor((i + 1) * n / cases.length) > Math.floor(i * n / cases.length));
}

const hostile = hostileCases();
const odd = oddCases();

test("corpus: at least 120 hostile and 20 odd files, each with a name of its own", () => {
  assert(hostile.length >= 120, `${hostile.length} hostile files`);
  assert(odd.length >= 20, `${odd.length} odd files`);
  const names = [...hostile, ...odd].map((one) => one.name);
  assertEquals(names.filter((name, i) => names.indexOf(name) !== i), []);
});

test("corpus: every hostile file is refused with its own error", async () => {
  assertEquals(await surprises(hostile, prepare), []);
});

test("corpus: every odd file is proved", async () => {
  assertEquals(await surprises(odd, prepare), []);
});

// Starting Workers is what takes the time, so these are a part of the corpus.
test("corpus: 120 hostile files through the public API", async () => {
  const cases = spread(hostile, 120);
  assertEquals(cases.length, 120);
  assertEquals(await surprises(cases, load), []);
});

test("corpus: 25 odd files through the public API", async () => {
  const cases = spread(odd, 25);
  assertEquals(cases.length, 25);
  assertEquals(await surprises(cases, load), []);
});

leakCheck();
