/**
 * Writes the listings that tests/arch_test.ts pins. Read the difference before committing it: it is the change of what
 * a model computes.
 *
 *     bun tools/golden/write_plans.ts
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { listPlan } from "../../src/plan/listing.ts";
import { PLAN_SHAPES, planOfShape } from "../../tests/plan_shapes.ts";
import { inRoot } from "../../tests/support.ts";

async function main(): Promise<void> {
  mkdirSync(inRoot("tests", "golden", "plans"), { recursive: true });
  for (const shape of PLAN_SHAPES) {
    writeFileSync(inRoot("tests", "golden", "plans", `${shape.name}.txt`), listPlan(await planOfShape(shape)));
  }
}

main();
