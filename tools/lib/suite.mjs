/** Runs the TypeScript suite under one runtime and tells the result. */
import { spawn } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import process from "node:process";
import { readReport } from "./junit.mjs";
import { inRoot, ROOT, TOOLS } from "./paths.mjs";

const TEST_TIMEOUT_MS = 120_000;
const SLOW_TEST_S = 5;
const SIGNALS = ["SIGINT", "SIGTERM"];
const SUITE_TIMEOUT_MS = 900_000;
/** Processes that share the files: the library counts what is open by process, so they don't see each other. */
const PROCESSES = 2;

/** Every test file. */
export function testFiles() {
  return readdirSync(inRoot("tests")).filter((name) => name.endsWith("_test.ts")).sort().map((name) => `tests/${name}`);
}

/** The command line of each runtime. Types are checked by tsc, once, not by Deno again. */
const COMMANDS = {
  bun: (report, files) => [
    TOOLS.bun,
    ["test", `--timeout=${TEST_TIMEOUT_MS}`, "--reporter=junit", `--reporter-outfile=${report}`]
      .concat(files.map((file) => `./${file}`)),
  ],
  deno: (report, files) => [TOOLS.deno, ["test", "-A", "--no-check", `--junit-path=${report}`, ...files]],
  node: (report, files) => [
    TOOLS.node,
    ["--test", `--test-timeout=${TEST_TIMEOUT_MS}`, "--test-reporter=junit", `--test-reporter-destination=${report}`]
      .concat(["--disable-warning=ExperimentalWarning", ...files]),
  ],
};

/** The runtimes, in the order in which they are run. */
export const RUNTIMES = Object.keys(COMMANDS);

/** What ends each process that runs now. */
const running = new Set();

function interrupted() {
  for (const kill of running) kill();
  process.exit(130);
}

function run(command, args) {
  const env = { ...process.env, NO_COLOR: "1", DENO_NO_UPDATE_CHECK: "1", CI: "1" };
  env.PATH = `${inRoot("node_modules", ".bin")}${delimiter}${env.PATH}`;
  delete env.FORCE_COLOR;
  return new Promise((resolve) => {
    const child = spawn(command, args, { cwd: ROOT, env, stdio: ["ignore", "pipe", "pipe"], detached: true });
    let output = "";
    let timedOut = false;
    const killGroup = () => process.kill(-child.pid, "SIGKILL"); // also what the tests have started
    running.add(killGroup);
    const take = (chunk) => output = (output + chunk).slice(-64 * 1024);
    child.stdout.setEncoding("utf8").on("data", take);
    child.stderr.setEncoding("utf8").on("data", take);
    const timer = setTimeout(() => {
      timedOut = true;
      killGroup();
    }, SUITE_TIMEOUT_MS);
    child.on("error", (error) => resolve({ how: `could not be started (${error.message})`, output }));
    child.on("close", (code, signal) => {
      clearTimeout(timer);
      running.delete(killGroup);
      const ended = signal === null ? `ended with status ${code}` : `was ended by ${signal}`;
      resolve({ code, how: timedOut ? `took more than ${SUITE_TIMEOUT_MS / 1000} s` : ended, output });
    });
  });
}

/** Tells every failed test of a run. */
export function tellFailures(runtime, cases) {
  for (const { name, state, message } of cases) {
    if (state === "failed") console.log(`\n${runtime}: FAILED ${name}\n${message.replace(/^/gm, "    ")}`);
  }
}

function tell(runtime, cases, seconds) {
  tellFailures(runtime, cases);
  const skipped = new Map();
  for (const { name, state, message } of cases) {
    if (state === "skipped") skipped.set(message, [...(skipped.get(message) ?? []), name]);
  }
  for (const [reason, names] of skipped) {
    for (const name of names) console.log(`${runtime}: skipped ${name} (${reason})`);
  }
  const slow = cases.filter((c) => c.seconds > SLOW_TEST_S).sort((a, b) => b.seconds - a.seconds).slice(0, 5);
  for (const { name, seconds: took } of slow) console.error(`${runtime}: slow: ${took.toFixed(1)} s, ${name}`);
  const count = (state) => cases.filter((c) => c.state === state).length;
  console.error(`${runtime}: ${seconds} s`);
  console.log(`${runtime}: ${count("passed")} passed, ${count("failed")} failed, ${count("skipped")} skipped`);
  return count("failed") === 0;
}

/** The files in two shares, each for a process of its own, where there are cores for them. */
function shares(files) {
  const n = Math.min(PROCESSES, availableParallelism(), files.length);
  return Array.from({ length: n }, (_, k) => files.filter((_, i) => i % n === k));
}

/** The results of one process. */
async function runShare(runtime, files) {
  const folder = mkdtempSync(join(tmpdir(), "realizar-report-"));
  const report = join(folder, "report.xml");
  try {
    const { code, how, output } = await run(...COMMANDS[runtime](report, files));
    const cases = readReport(report) ?? [];
    const broken = cases.length === 0 || (code !== 0 && !cases.some((c) => c.state === "failed"));
    if (broken) {
      const message = `${runtime} ${how} and left ${cases.length} results. Its last output:\n${output.slice(-6000)}`;
      cases.push({ name: `${runtime} itself`, state: "failed", message, seconds: 0 });
    }
    return cases;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/**
 * Runs the files under a runtime and prints its closing line. A run that leaves no report, has no test in it, or
 * fails without a failed test is one failure more.
 */
export async function runSuite(runtime, files) {
  for (const name of SIGNALS) process.once(name, interrupted);
  const started = performance.now();
  const beat = setInterval(() => {
    console.error(`${runtime}: running, ${Math.round((performance.now() - started) / 1000)} s`);
  }, 30_000);
  try {
    const cases = (await Promise.all(shares(files).map((share) => runShare(runtime, share)))).flat();
    const ok = tell(runtime, cases, Math.round((performance.now() - started) / 1000));
    return { ok, cases };
  } finally {
    clearInterval(beat);
    for (const name of SIGNALS) process.removeListener(name, interrupted);
  }
}
