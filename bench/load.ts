/**
 * Milliseconds from nothing to a first token: `bun bench/load.ts MODEL [THREADS]`, one JSON object. A process of
 * its own each time; the file is in the page cache after the first.
 */
import { argv, exit } from "node:process";
import { Model } from "../src/mod.ts";

async function main(path: string, threads: number): Promise<void> {
  const started = performance.now();
  await using model = await Model.load(path, { device: "cpu", threads, contextSize: 1024, maxSequences: 1 });
  await model.generate([1, 2, 3], { maxTokens: 1, temperature: 0, ignoreEos: true }).result();
  console.log(JSON.stringify({ test: "load", ms: performance.now() - started, device: model.info.device }));
}

const [path, threads = "2"] = argv.slice(2);
if (path === undefined) {
  console.error("usage: load.ts MODEL [THREADS]");
  exit(2);
}
await main(path, Number(threads));
