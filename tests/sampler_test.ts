/** The sampler through the C ABI, on both host executors, against sampler_reference.ts. */
import { assert, assertEquals } from "@std/assert";
import { type BatchOut, NO_SAMPLING, OUT_MODES, type OutSampling, RESULT_FLAGS } from "../src/engine/batch.ts";
import { LogitsRunner } from "./logits_plan.ts";
import { Random } from "./random_blocks.ts";
import { type DrawOptions, philox, referenceDraw, softmax } from "./sampler_reference.ts";
import { leakCheck, test } from "./support.ts";

const VOCAB = 64;
const BACKENDS = ["ref", "cpu"] as const;

/** Rows of logits: smooth ones, and ones full of ties. */
function randomTable(seed: number): Float32Array<ArrayBuffer> {
  const random = new Random(seed);
  return Float32Array.from(
    { length: VOCAB * VOCAB },
    (_, i) => Math.floor(i / VOCAB) % 3 === 0 ? random.below(5) : 2 * random.normal(),
  );
}

const TABLE = randomTable(1);
const rowOf = (token: number): Float32Array => TABLE.subarray(token * VOCAB, (token + 1) * VOCAB);

/** An out that samples at `row`. */
function sampleAt(row: number, sampling: Partial<OutSampling>, drawPosition = 0, penaltyFrom = 0): BatchOut {
  return {
    row,
    mode: OUT_MODES.sample,
    sampling: { ...NO_SAMPLING, temperature: 1, ...sampling },
    penaltyFrom,
    drawPosition,
  };
}

/** One sequence of a step; the pages of a plan without a cache are none. */
const sequence = (slot: number, tokens: readonly number[]) => ({ slot, nPast: 0, tokens, pages: [] });

const drawOptions = (out: BatchOut): DrawOptions => ({ ...out.sampling, drawPosition: out.drawPosition });

function randomSampling(random: Random): OutSampling {
  const sometimes = (value: number, off: number): number => random.below(3) === 0 ? Math.fround(value) : off;
  return {
    temperature: random.below(6) === 0 ? 0 : Math.fround(0.1 + 2 * random.unit()),
    topK: sometimes(1 + random.below(VOCAB), 0),
    topP: sometimes(random.unit(), 1),
    minP: sometimes(random.unit(), 0),
    typicalP: sometimes(0.01 + 0.98 * random.unit(), 1),
    repetition: sometimes(0.5 + random.unit(), 1),
    presence: sometimes(random.normal(), 0),
    frequency: sometimes(random.normal(), 0),
    seedLow: random.u32(),
    seedHigh: random.u32(),
    nTop: 0,
    bias: Array.from({ length: random.below(3) }, (_, i) => [random.below(VOCAB), i === 1 ? -Infinity : 2] as const),
  };
}

test("sampler: the reference's random numbers are Philox's published ones", () => {
  assertEquals(philox([0, 0, 0, 0], [0, 0]), [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]);
  const pi = [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344];
  assertEquals(philox(pi, [0xa4093822, 0x299f31d0]), [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1]);
});

for (const backend of BACKENDS) {
  test(`sampler: every out of a mixed step draws as the reference does, on ${backend}`, () => {
    using runner = new LogitsRunner(backend, TABLE, VOCAB);
    const random = new Random(2);
    let compared = 0;
    for (let round = 0; round < 60; round++) {
      const seqs = Array.from(
        { length: 1 + random.below(4) },
        (_, slot) => sequence(slot, Array.from({ length: 1 + random.below(8) }, () => random.below(VOCAB))),
      );
      const rows = seqs.flatMap(({ tokens }) => tokens.map((_, i) => tokens.slice(0, i + 1)));
      const outs = rows.map((_, row) => ({
        ...sampleAt(row, randomSampling(random), random.u32(), random.below(6)),
      }));
      const result = runner.step({ seqs, outs });
      outs.forEach((out, i) => {
        const past = rows[i]!;
        const logits = rowOf(past.at(-1)!);
        const { token, margin } = referenceDraw(logits, drawOptions(out), past.slice(out.penaltyFrom));
        assertEquals(result.flags(i), 0);
        if (margin < 1e-5) return; // F32 may decide either way
        compared++;
        assertEquals(result.token(i), token, `round ${round}, out ${i}: ${JSON.stringify(out)}`);
        assertNear(result.logprob(i), Math.log(softmax(Array.from(logits))[token]!), 1e-5);
      });
    }
    assert(compared > 400, `${compared} draws compared`);
  });

  test(`sampler: draws are distributed as the probabilities say, on ${backend}`, () => {
    using runner = new LogitsRunner(backend, TABLE, VOCAB);
    const sampling = { temperature: 1.5, topK: 12, topP: 0.95, minP: 0.02 };
    const N = 8000;
    const seen = new Array<number>(VOCAB).fill(0);
    for (let first = 0; first < N; first += 200) {
      const outs = Array.from({ length: 200 }, (_, i) => sampleAt(0, { ...sampling, seedLow: first }, i));
      const result = runner.step({ seqs: [sequence(0, [7])], outs });
      outs.forEach((_, i) => seen[result.token(i)]!++);
    }
    const { probabilities } = referenceDraw(rowOf(7), drawOptions(sampleAt(0, sampling)), []);
    let statistic = 0;
    let degrees = -1;
    probabilities.forEach((p, id) => {
      if (p === 0) return assertEquals(seen[id], 0);
      statistic += (seen[id]! - p * N) ** 2 / (p * N);
      degrees++;
    });
    assert(degrees >= 4 && degrees <= 11, `${degrees} degrees`);
    assert(statistic > 0.2 && statistic < 50, `chi squared ${statistic}, ${degrees} degrees: once in a million`);
  });

  test(`sampler: greedy, log-probabilities and targets, on ${backend}`, () => {
    using runner = new LogitsRunner(backend, TABLE, VOCAB);
    const tokens = [0, 1, 2, 3]; // rows 0 and 3 have ties
    const greedy = tokens.map((_, row) => sampleAt(row, { temperature: 0, nTop: 5 }));
    const targets = tokens.map((_, row) => ({
      ...sampleAt(row, { nTop: row }),
      mode: OUT_MODES.target,
      target: 9 + row,
    }));
    const result = runner.step({ seqs: [sequence(0, tokens)], outs: [...greedy, ...targets] });
    for (const token of tokens) {
      const logits = Array.from(rowOf(token));
      const p = softmax(logits);
      const order = logits.map((_, id) => id).sort((a, b) => logits[b]! - logits[a]! || a - b);
      assertEquals(result.token(token), order[0]);
      assertNear(result.logprob(token), Math.log(p[order[0]!]!), 1e-5);
      assertEquals(result.top(token).map((top) => top.token), order.slice(0, 5));
      result.top(token).forEach((top) => assertNear(top.logprob, Math.log(p[top.token]!), 1e-5));
      assertEquals(result.token(4 + token), -1);
      assertNear(result.logprob(4 + token), Math.log(p[9 + token]!), 1e-5);
      assertEquals(result.top(4 + token).map((top) => top.token), order.slice(0, token));
    }
  });

  test(`sampler: masks come while the step runs; an empty one is told, on ${backend}`, () => {
    using runner = new LogitsRunner(backend, TABLE, VOCAB);
    const allowed = [new Set([3, 40, 63]), new Set([31, 32]), new Set<number>()];
    const masks = new Uint32Array(3 * VOCAB / 32);
    allowed.forEach((ids, i) => ids.forEach((id) => masks[2 * i + (id >> 5)]! |= 1 << (id & 31)));
    const seqs = [0, 1, 2].map((slot) => sequence(slot, [20 + slot]));
    for (let position = 0; position < 50; position++) {
      const outs = seqs.map((_, row) => sampleAt(row, { topP: 0.9999, topK: position % 2 * 20 }, position));
      const result = runner.step({ seqs, outs }, masks);
      outs.slice(0, 2).forEach((out, i) => {
        const options = { ...drawOptions(out), allowed: allowed[i]! };
        const { token, margin } = referenceDraw(rowOf(20 + i), options, []);
        if (margin > 1e-5) assertEquals(result.token(i), token);
        assertEquals(result.flags(i), 0);
      });
      assertEquals([result.token(2), result.flags(2)], [-1, RESULT_FLAGS.emptyMask]);
    }
  });

  test(`sampler: a row that is not finite fails alone, on ${backend}`, () => {
    const bad = TABLE.slice();
    bad[5 * VOCAB + 17] = NaN;
    bad[6 * VOCAB + 17] = Infinity;
    using runner = new LogitsRunner(backend, bad, VOCAB);
    const seqs = [4, 5, 6, 7].map((token, slot) => sequence(slot, [token]));
    const result = runner.step({ seqs, outs: seqs.map((_, row) => sampleAt(row, { temperature: 0 })) });
    const { nonFinite } = RESULT_FLAGS;
    assertEquals([0, 1, 2, 3].map((i) => result.flags(i)), [0, nonFinite, nonFinite, 0]);
    assertEquals([result.token(1), result.token(2)], [-1, -1]);
    const best = (token: number): number => rowOf(token).indexOf(Math.max(...rowOf(token)));
    assertEquals([result.token(0), result.token(3)], [best(4), best(7)]);
  });
}

function assertNear(got: number, expected: number, tolerance: number): void {
  assert(Math.abs(got - expected) <= tolerance, `got ${got}, expected ${expected} within ${tolerance}`);
}

leakCheck();
