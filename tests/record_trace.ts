/** Writes a trace for bin/replay: `record_trace.ts FILE [quick]`. See tests/trace_cases.ts for what is in it. */
import process from "node:process";
import { QUICK_TRACE, WHOLE_TRACE, writeTrace } from "./trace_cases.ts";

async function main(): Promise<void> {
  const [path, how] = process.argv.slice(2);
  if (path === undefined || (how !== undefined && how !== "quick")) {
    process.stderr.write("record_trace.ts FILE [quick]\n");
    process.exitCode = 2;
    return;
  }
  const { nCases, nBytes } = await writeTrace(path, how === "quick" ? QUICK_TRACE : WHOLE_TRACE);
  process.stdout.write(`${path}: ${nCases} cases, ${nBytes} bytes\n`);
}

main();
