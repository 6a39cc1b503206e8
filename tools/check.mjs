/** `npm run check`: the fast half of `npm test` (types, format, lint, API, and the tests of the house), < 30 s. */
import { checkMachine, installNpmPackages, installZig } from "./lib/install.mjs";
import { runChecks } from "./lib/checks.mjs";
import { buildNative } from "./lib/native.mjs";
import { main } from "./lib/step.mjs";
import { runSuite } from "./lib/suite.mjs";

const FAST_TESTS = ["tests/abi_test.ts", "tests/tidy_test.ts"];

await main(async () => {
  checkMachine();
  await installNpmPackages();
  await installZig();
  await buildNative("tests");
  const good = await runChecks();
  const { ok } = await runSuite("bun", FAST_TESTS);
  return good && ok ? 0 : 1;
});
