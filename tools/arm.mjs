/**
 * `npm run test:arm [-- NAME...]`: the CPU executor's native tests for arm64, optimized as the library is, under
 * Debian's qemu-user. All kernels run there: NEON, its dot products, i8mm. Without qemu-aarch64 this says so and ends
 * well. `npm test` runs the short form of one of them.
 */
import process from "node:process";
import { canRunArm, runArm } from "./lib/arm.mjs";
import { checkMachine, installZig } from "./lib/install.mjs";
import { main } from "./lib/step.mjs";

const TESTS = ["dtype", "cpu_kernels", "cpu_attention", "cpu_pool", "cpu_program"];

await main(async () => {
  if (!canRunArm()) return;
  checkMachine();
  await installZig();
  await runArm(process.argv.length > 2 ? process.argv.slice(2) : TESTS);
});
