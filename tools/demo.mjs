/**
 * `npm run demo [-- PROMPT]`: from a fresh clone to a model that writes. The second time every stamp is right, and
 * nothing is started but Bun.
 */
import { spawn } from "node:child_process";
import process from "node:process";
import { checkMachine, installNpmPackages, installZig } from "./lib/install.mjs";
import { fetchModel } from "./lib/model.mjs";
import { buildNative, nativeIsBuilt } from "./lib/native.mjs";
import { inRoot, TOOLS } from "./lib/paths.mjs";
import { main } from "./lib/step.mjs";

const DEFAULT_PROMPT = "Explain in three sentences why the sky is blue.";

function run(model, prompt) {
  return new Promise((resolve, reject) => {
    const args = [inRoot("src", "cli", "main.ts"), "run", model, "-p", prompt, "-n", "400"];
    const child = spawn(TOOLS.bun, args, { stdio: "inherit" });
    process.on("SIGINT", () => {}); // the terminal sends it to the child too, which ends in its own way
    process.on("SIGTERM", () => child.kill("SIGTERM"));
    child.on("error", reject);
    child.on("close", (code, signal) => resolve(signal === null ? code : 1));
  });
}

await main(async () => {
  checkMachine();
  await installNpmPackages();
  if (!nativeIsBuilt("release")) {
    await installZig();
    await buildNative("release");
  }
  const model = await fetchModel();
  return await run(model, process.argv.slice(2).join(" ") || DEFAULT_PROMPT);
});
