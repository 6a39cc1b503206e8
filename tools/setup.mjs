/**
 * `npm run setup [-- PART...]`: brings a fresh clone to the point where everything runs. Parts: tools, build, model
 * (these three are the default), cuda. Each part does nothing when it is done already.
 */
import process from "node:process";
import { checkMachine, installCuda, installNpmPackages, installZig } from "./lib/install.mjs";
import { fetchModel } from "./lib/model.mjs";
import { buildNative } from "./lib/native.mjs";
import { main, StepError } from "./lib/step.mjs";

const PARTS = {
  async tools() {
    await installNpmPackages();
    await installZig();
  },
  async build() {
    await installZig();
    await buildNative("tests");
  },
  async model() {
    process.stderr.write(`model: ${await fetchModel()}\n`);
  },
  async cuda() {
    process.stderr.write(`nvcc: ${await installCuda()}\n`);
  },
};

await main(async () => {
  checkMachine();
  const asked = process.argv.slice(2);
  for (const part of asked.length === 0 ? ["tools", "build", "model"] : asked) {
    if (!Object.hasOwn(PARTS, part)) {
      throw new StepError(`setup: no part "${part}"; there are ${Object.keys(PARTS).join(", ")}`);
    }
    await PARTS[part]();
  }
});
