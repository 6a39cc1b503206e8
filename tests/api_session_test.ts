import { assert, assertEquals, assertThrows } from "@std/assert";
import { Model } from "../src/mod.ts";
import { RealizarError } from "../src/errors.ts";
import { leakCheck, test } from "./support.ts";
import { tinyGguf } from "./tiny_gguf.ts";

const TOKENS = Array.from({ length: 40 }, (_, i) => (11 + 13 * i) % 280);

function withModel(run: (model: Model) => Promise<void>): Promise<void> {
  return Model.load(tinyGguf({ seed: 5 }), { device: "ref", maxSequences: 2 }).then(async (model) => {
    await using _closing = model;
    await run(model);
  });
}

test("session: chunks, single tokens and all at once give the same logits", () =>
  withModel((model) => {
    using whole = model.session();
    using single = model.session({ maxBatch: 7 });
    const { vocabSize } = model.info;
    const all = whole.evaluate(TOKENS, undefined, { all: true });
    assertEquals(all.length, TOKENS.length * vocabSize);
    for (const [i, token] of TOKENS.entries()) {
      assertEquals(single.evaluate([token]), all.slice(i * vocabSize, (i + 1) * vocabSize), `position ${i}`);
    }
    using chunked = model.session({ maxBatch: 7 });
    assertEquals(chunked.evaluate(TOKENS), all.slice(-vocabSize));
    return Promise.resolve();
  }));

test("session: rewind is as if it had never happened, fork goes its own way", () =>
  withModel((model) => {
    using session = model.session();
    session.evaluate(TOKENS.slice(0, 20));
    const straight = session.evaluate(TOKENS.slice(20));
    session.rewind(20);
    assertEquals(session.length, 20);
    using fork = session.fork();
    fork.evaluate([1, 2, 3]);
    assertEquals(session.evaluate(TOKENS.slice(20)), straight);
    fork.rewind(20);
    assertEquals(fork.evaluate(TOKENS.slice(20)), straight);
    return Promise.resolve();
  }));

test("session: a profile names every launch of the plan, counts calls, and adds up to less than the steps took", () =>
  withModel((model) => {
    using plain = model.session();
    assertEquals(assertThrows(() => plain.profile(), RealizarError).code, "ARG");
    using session = model.session({ profile: true, maxBatch: 20 });
    assertEquals(session.profile(), [], "nothing ran yet");
    const from = performance.now();
    session.evaluate(TOKENS);
    session.evaluate([1]);
    const wallMs = performance.now() - from;
    const launches = session.profile();
    assert(launches.every(({ calls }) => calls === 3), "two chunks and a token");
    const sum = launches.reduce((total, { ms }) => total + ms, 0);
    assert(sum > 0 && sum <= wallMs, `${sum} of ${wallMs} ms`);
    // ref joins no ops: each launch is one op of the plan, in its order, named as the plan's listing names it.
    assertEquals(launches.map(({ op }) => op), [...launches.keys()]);
    assertEquals(launches.filter(({ name }) => name === "attention").length, model.info.nLayers);
    assertEquals([launches[0]!.name, launches.at(-1)!.name], ["embed", "logits"]);
    assertEquals(new Set(launches.map(({ layer }) => layer)).size, model.info.nLayers + 1);
    assertEquals(session.profile(), [], "told once");
    return Promise.resolve();
  }));

test("session: greedy by hand equals generate", () =>
  withModel(async (model) => {
    const { tokens } = await model.generate(TOKENS, { temperature: 0, maxTokens: 8, ignoreEos: true }).result();
    using session = model.session();
    const mine: number[] = [];
    let logits = session.evaluate(TOKENS);
    while (mine.length < 8) {
      mine.push(logits.indexOf(Math.max(...logits)));
      logits = session.evaluate([mine.at(-1)!], logits);
    }
    assertEquals(mine, tokens);
  }));

test("session: wrong use is a typed error, and a session outlives nothing", () =>
  withModel(async (model) => {
    const session = model.session({ contextSize: 8 });
    const code = (run: () => unknown): string => assertThrows(run, RealizarError).code;
    assertEquals(code(() => session.evaluate([])), "ARG");
    assertEquals(code(() => session.evaluate([-1])), "ARG");
    assertEquals(code(() => session.evaluate([model.info.vocabSize])), "ARG");
    assertEquals(code(() => session.evaluate(TOKENS)), "LIMIT");
    assertEquals(code(() => session.evaluate([1], new Float32Array(3))), "ARG");
    assertEquals(code(() => session.rewind(1)), "ARG");
    assertEquals(code(() => model.session({ contextSize: 1 << 20 })), "ARG");
    assertEquals(session.length, 0);
    const text = session.detokenize(session.tokenize("in the end"));
    assertEquals(text, "in the end");
    session.close();
    session.close();
    assertEquals(code(() => session.evaluate([1])), "CLOSED");
    const left = model.session();
    await model.close();
    assertEquals(code(() => left.evaluate([1])), "CLOSED");
    assert(code(() => model.session()) === "CLOSED");
  }));

leakCheck();
