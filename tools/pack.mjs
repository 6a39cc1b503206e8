/** `npm run pack [-- --all]`: the npm packages as tarballs in dist/npm, for this platform or for every one. */
import { parseArgs } from "node:util";
import { checkMachine, installNpmPackages, installZig } from "./lib/install.mjs";
import { buildNative } from "./lib/native.mjs";
import { HERE, packAll, PLATFORM_NAMES } from "./lib/pack.mjs";
import { main, StepError } from "./lib/step.mjs";

await main(async () => {
  const { values } = parseArgs({ options: { all: { type: "boolean" } } });
  checkMachine();
  await installNpmPackages();
  await installZig();
  if (!values.all && !PLATFORM_NAMES.includes(HERE)) {
    throw new StepError(`there is no package for ${HERE}, only for ${PLATFORM_NAMES.join(", ")}`);
  }
  await buildNative("release");
  for (const tarball of await packAll(values.all ? PLATFORM_NAMES : [HERE])) console.log(tarball);
  return 0;
});
