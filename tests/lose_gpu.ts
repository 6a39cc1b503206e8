/**
 * A program that loses its GPU: `lose_gpu.ts KIND` lets the test library run a faulty kernel, and prints what
 * everything then answers, as JSON. The driver may refuse a GPU to the whole process from then on, so no test does this
 * to its own.
 */
import process from "node:process";
import { STRUCTS } from "../src/platform/abi.ts";
import { Model, RealizarError } from "../src/mod.ts";
import { readRecord } from "../src/record.ts";
import { StepRunner, testModel } from "./step_runner.ts";
import { TEST_LIBRARY_PATH, testLibrary } from "./support.ts";
import { tinyGguf } from "./tiny_gguf.ts";

/** What the program prints. Codes are those of RealizarError, "none" where a call worked. */
export interface LostReport {
  /** Of the step that meets the fault, and of the ones after it. */
  steps: string[];
  message: string;
  /** Of an engine with a context of its own that was open beside it. */
  beside: string;
  /** Of a new engine after all were closed. */
  again: string;
  /** Steps of a cpu engine that was open all the time. */
  hostIsRight: boolean;
  /** Of a generation on the lost GPU, and the device and tokens of a model that is loaded on "auto" afterwards. */
  generation: string;
  auto: { device: string; tokens: number };
  /** Native objects and bytes that are left in the end. */
  left: Record<string, number>;
}

const PART = [{ slot: 0, nPast: 0, tokens: [1, 2, 3, 4, 5] }];
const GREEDY = { temperature: 0, maxTokens: 6, ignoreEos: true };

let message = "";
async function codeOf(call: () => unknown): Promise<string> {
  try {
    await call();
    return "none";
  } catch (error) {
    if (!(error instanceof RealizarError)) throw error;
    message ||= error.message;
    return error.code;
  }
}

function left(): Record<string, number> {
  const bytes = new Uint8Array(STRUCTS.rz_stats.size);
  testLibrary().native.rz_library_stats(bytes, bytes.length);
  const { peak_bytes: _, ...rest } = readRecord(STRUCTS.rz_stats, bytes);
  return Object.fromEntries(Object.entries(rest).filter(([, n]) => n !== 0));
}

async function main(kind: number): Promise<void> {
  const library = testLibrary(), bytes = tinyGguf({ seed: 3 });
  const model = await testModel(bytes);
  const open = (backend: "cpu" | "cuda") => new StepRunner(model, { backend, library });
  const options = { libraryPath: TEST_LIBRARY_PATH, contextSize: 128 } as const;
  const whole = await Model.load(bytes, { ...options, device: "cuda" });
  const host = open("cpu"), beside = open("cuda"), lost = open("cuda");
  const onHost = host.step(PART).join();
  const steps: string[] = [await codeOf(() => lost.step(PART))];
  library.check(library.native.rz_test_fail_after(kind, 1));
  for (let i = 0; i < 3; i++) steps.push(await codeOf(() => lost.step(PART)));
  library.check(library.native.rz_test_fail_after(kind, 0));
  const besideCode = await codeOf(() => beside.step(PART));
  const generation = await codeOf(() => whole.generate([1, 2, 3], GREEDY).result());
  await whole.close();
  for (const runner of [beside, lost]) runner[Symbol.dispose]();
  const again = await codeOf(() => {
    using runner = open("cuda");
    runner.step(PART);
  });
  const hostIsRight = host.step(PART).join() === onHost;
  host[Symbol.dispose]();
  const next = await Model.load(bytes, { ...options, device: "auto" });
  const { tokens } = await next.generate([1, 2, 3], GREEDY).result();
  const auto = { device: next.info.device, tokens: tokens.length };
  await next.close();
  const report: LostReport = { steps, message, beside: besideCode, again, hostIsRight, generation, auto, left: left() };
  process.stdout.write(`${JSON.stringify(report)}\n`);
}

if (process.argv[2] !== undefined && process.argv[1]?.endsWith("lose_gpu.ts")) main(Number(process.argv[2]));
