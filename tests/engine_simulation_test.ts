/**
 * The scheduler in a million steps of random traffic. A failure names its seed; REALIZAR_SIMULATION_SEED=<seed> runs
 * that world alone.
 */
import { assert } from "@std/assert";
import { env } from "../src/platform/env.ts";
import { SchedulerWorld, type Tally } from "./scheduler_world.ts";
import { test } from "./support.ts";

const STEPS_A_WORLD = 500;
const PARTS = 4;
const STEPS_A_PART = 250_000;

function live(seed: number): Tally {
  try {
    return new SchedulerWorld(seed).run(STEPS_A_WORLD);
  } catch (error) {
    throw new Error(`REALIZAR_SIMULATION_SEED=${seed}: ${(error as Error).message}`, { cause: error });
  }
}

const only = env("REALIZAR_SIMULATION_SEED");

for (let part = 0; part < PARTS && only === undefined; part++) {
  test(`simulation: ${STEPS_A_PART} steps of random traffic, part ${part + 1} of ${PARTS}`, () => {
    const sums = { steps: 0, expired: 0, failedSteps: 0, preemptions: 0, found: 0, scored: 0, guests: 0, ended: 0 };
    for (let seed = part * 1_000_000; sums.steps < STEPS_A_PART; seed++) {
      const tally = live(seed);
      for (const name of Object.keys(sums) as (keyof typeof sums)[]) sums[name] += tally[name];
    }
    // The worlds had in them what they are to be tried with.
    for (const [name, n] of Object.entries(sums)) assert(n > 1000, `${name}: ${n}`);
  });
}

if (only !== undefined) test(`simulation: seed ${only}`, () => void live(Number(only)));
