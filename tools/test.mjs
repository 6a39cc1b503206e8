/**
 * `npm test`: set-up, static checks, native unit tests, the published targets, then the suite under Bun, Deno and
 * Node, which must run the same tests. `npm test -- [--runtime=bun] [tests/x_test.ts ...]` runs only those files.
 */
import { parseArgs } from "node:util";
import {
  checkMachine,
  installClients,
  installNpmPackages,
  installPythonClient,
  installSchemas,
  installVocabularies,
  installZig,
} from "./lib/install.mjs";
import { canRunArm, runArmKernels } from "./lib/arm.mjs";
import { runChecks } from "./lib/checks.mjs";
import { differences } from "./lib/junit.mjs";
import { fetchModel } from "./lib/model.mjs";
import { checkPackage } from "./lib/package_check.mjs";
import { buildNative, zigBuild } from "./lib/native.mjs";
import { main, StepError } from "./lib/step.mjs";
import { runSuite, RUNTIMES, tellFailures, testFiles } from "./lib/suite.mjs";

async function setUp() {
  checkMachine();
  await installNpmPackages();
  await installZig();
  await installVocabularies();
  await installClients();
  await installPythonClient();
  await installSchemas();
  await buildNative("tests");
  await fetchModel();
}

/** Runs a step whose failure is a failed test, not the end of the run. */
async function attempt(run) {
  try {
    await run();
    return true;
  } catch (error) {
    if (!(error instanceof StepError)) throw error;
    console.error(error.message);
    return false;
  }
}

/** Every runtime ran the same tests; tells which ones are missing where. */
function sameTests(results) {
  const [first, ...others] = [...results];
  let same = true;
  for (const [runtime, { cases }] of others) {
    const { onlyA, onlyB } = differences(first[1].cases, cases);
    for (const name of onlyA) console.log(`only under ${first[0]}, not under ${runtime}: ${name}`);
    for (const name of onlyB) console.log(`only under ${runtime}, not under ${first[0]}: ${name}`);
    same &&= onlyA.length === 0 && onlyB.length === 0 && cases.length === first[1].cases.length;
  }
  return same;
}

async function runRuntimes(runtimes, files) {
  const results = new Map();
  for (const runtime of runtimes) results.set(runtime, await runSuite(runtime, files));
  // Once more, where the end of a log has them.
  for (const [runtime, { cases }] of results) tellFailures(runtime, cases);
  const failed = [...results].filter(([, { ok }]) => !ok).map(([runtime]) => runtime);
  if (!sameTests(results)) failed.push("equal tests in every runtime");
  return failed;
}

await main(async () => {
  const { values, positionals } = parseArgs({
    options: { runtime: { type: "string", multiple: true } },
    allowPositionals: true,
  });
  const unknown = (values.runtime ?? []).filter((name) => !RUNTIMES.includes(name));
  if (unknown.length > 0) throw new StepError(`no runtime "${unknown[0]}"; there are ${RUNTIMES.join(", ")}`);
  await setUp();
  const failed = [];
  if (positionals.length === 0) {
    if (!await runChecks()) failed.push("checks");
    const remedy = "Fix the test or the code.";
    const unit = () => zigBuild("native unit tests", ["test"], { show: true, remedy });
    if (!await attempt(unit)) failed.push("native unit tests");
    if (canRunArm() && !await attempt(runArmKernels)) failed.push("arm64 kernels");
    if (!await attempt(() => zigBuild("targets: other platforms compile", ["targets"]))) failed.push("targets");
    if (!await attempt(checkPackage)) failed.push("package");
  }
  failed.push(...await runRuntimes(values.runtime ?? RUNTIMES, positionals.length === 0 ? testFiles() : positionals));
  if (failed.length > 0) console.error(`FAILED: ${failed.join(", ")}`);
  return failed.length === 0 ? 0 : 1;
});
