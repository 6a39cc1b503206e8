/** `npm run check:targets`: the library compiles, without a warning, for every platform it is published for. */
import { checkMachine, installZig } from "./lib/install.mjs";
import { zigBuild } from "./lib/native.mjs";
import { main } from "./lib/step.mjs";

await main(async () => {
  checkMachine();
  await installZig();
  await zigBuild("targets: x86-64 and arm64 Linux, arm64 macOS, x86-64 Windows", ["targets"]);
});
