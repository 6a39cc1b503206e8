/** The packages as a user gets them: packed, installed into an empty folder, imported in each runtime, and typed. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { HERE, packAll } from "./pack.mjs";
import { MODEL, TOOLS } from "./paths.mjs";
import { step, StepError } from "./step.mjs";

const QUESTION = `[{ role: "user", content: "Say hi." }]`;

/** Imports every entry point, and prints what a model answers. */
const program = (model) => `
import { Model } from "realizar";
import { createHandler } from "realizar/server";
import { createRealizar } from "realizar/ai";
await using model = await Model.load(${JSON.stringify(model)}, { device: "cpu", contextSize: 256 });
const { text } = await model.generate(${QUESTION}, { temperature: 0, maxTokens: 12 }).result();
console.log(JSON.stringify({ text, types: [typeof createHandler, typeof createRealizar] }));
`;

/** What a user's compiler sees: right use is fine, wrong use is not. */
const TYPED = `
import { type GenerateOptions, Model } from "realizar";
export async function answer(options: GenerateOptions): Promise<string> {
  await using model = await Model.load("model.gguf");
  return (await model.generate(${QUESTION}, options).result()).text;
}
// @ts-expect-error: not a number
export const wrong: GenerateOptions = { temperature: "hot" };
`;

const RUNTIMES = {
  bun: (file) => [TOOLS.bun, [file]],
  deno: (file) => [TOOLS.deno, ["run", "-A", file]],
  node: (file) => [TOOLS.node, ["--disable-warning=ExperimentalWarning", file]],
};

/** Throws a StepError that says what does not work. */
export async function checkPackage() {
  const folder = mkdtempSync(join(tmpdir(), "realizar-package-"));
  const remedy = "Look at tools/lib/pack.mjs and package.json.";
  const run = (title, command, args) => step({ title: `package: ${title}`, command, args, cwd: folder, remedy });
  try {
    const tarballs = await packAll([HERE]);
    writeFileSync(join(folder, "package.json"), JSON.stringify({ name: "user", private: true, type: "module" }));
    writeFileSync(join(folder, "program.mjs"), program(MODEL));
    writeFileSync(join(folder, "typed.ts"), TYPED);
    await run("npm install", "npm", ["install", "--prefer-offline", "--no-audit", "--no-fund", ...tarballs]);
    const answers = new Map();
    for (const [name, commandLine] of Object.entries(RUNTIMES)) {
      const [command, args] = commandLine("program.mjs");
      const output = await run(name, command, args);
      answers.set(name, output.trim().split("\n").at(-1));
    }
    const [first] = answers.values();
    const same = [...answers.values()].every((answer) => answer === first);
    const { text, types } = JSON.parse(first);
    if (!same || text.length === 0 || types.some((type) => type !== "function")) {
      throw new StepError(`package: the runtimes answered ${JSON.stringify([...answers])}`);
    }
    const options = ["--noEmit", "--strict", "--module", "nodenext", "--moduleResolution", "nodenext"];
    const libraries = ["--target", "es2024", "--lib", "es2024,esnext.disposable,dom", "--types", ""];
    await run("types", TOOLS.tsc, [...options, ...libraries, "typed.ts"]);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
