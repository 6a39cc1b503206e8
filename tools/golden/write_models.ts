/**
 * Writes the tiny models of tests/golden_cases.ts and what make_logits.py must know about each (cases.json).
 *
 *     bun tools/golden/write_models.ts FOLDER
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { argv } from "node:process";
import { GOLDEN_CASES, goldenModel, tinyPrompts } from "../../tests/golden_cases.ts";

function main(folder: string): void {
  mkdirSync(folder, { recursive: true });
  const cases = GOLDEN_CASES.map((of) => {
    writeFileSync(join(folder, `${of.name}.gguf`), goldenModel(of));
    return {
      name: of.name,
      llama3_original_context: of.llama3OriginalContext ?? null,
      prompts: tinyPrompts(of.options.vocabSize),
    };
  });
  writeFileSync(join(folder, "cases.json"), JSON.stringify(cases));
}

main(argv[2]!);
