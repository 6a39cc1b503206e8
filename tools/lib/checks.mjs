/** The static checks, as data: `npm run check` runs them all, `npm test` too. */
import { inRoot, ROOT, TOOLS } from "./paths.mjs";
import { step, StepError } from "./step.mjs";

const CHECKS = [
  {
    title: "check: types (tsc)",
    command: TOOLS.tsc,
    args: ["-p", "."],
    remedy: "Fix the types.",
  },
  { title: "check: format", command: TOOLS.deno, args: ["fmt", "--check"], remedy: "npx deno fmt" },
  { title: "check: lint", command: TOOLS.deno, args: ["lint", "--quiet"], remedy: "Fix what the linter names." },
  {
    title: "check: JSR package",
    command: TOOLS.deno,
    args: ["publish", "--dry-run", "--allow-dirty", "--quiet"],
    remedy: "Fix what deno publish names.",
  },
  {
    title: "check: documentation of the public API",
    command: TOOLS.deno,
    args: ["doc", "--lint", "--quiet", inRoot("src", "mod.ts"), inRoot("src", "server", "mod.ts")],
    remedy: "Every public symbol has a comment and a written type.",
  },
];

/** Runs every check, two at a time; returns true when all are good, after telling about each that is not. */
export async function runChecks() {
  const queue = [...CHECKS];
  let good = true;
  const worker = async () => {
    for (let check = queue.shift(); check !== undefined; check = queue.shift()) {
      try {
        await step({ ...check, cwd: ROOT, env: { NO_COLOR: "1", DENO_NO_UPDATE_CHECK: "1" } });
      } catch (error) {
        if (!(error instanceof StepError)) throw error;
        good = false;
        console.error(error.message);
      }
    }
  };
  await Promise.all([worker(), worker()]);
  return good;
}
