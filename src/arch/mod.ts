/** The architectures: one line each. docs/adding_an_architecture.md walks through adding one. */
import { RealizarError } from "../errors.ts";
import type { Plan } from "../plan/plan.ts";
import type { ModelConfig } from "../weights/config.ts";
import type { RoleSpec } from "../weights/roles.ts";
import type { ValidatedWeights } from "../weights/validate.ts";
import { llama } from "./llama.ts";
import { qwen2 } from "./qwen2.ts";
import { qwen3 } from "./qwen3.ts";
import { qwen3moe } from "./qwen3moe.ts";

/** What a model family is: the tensors it has, and what it computes with them. */
export interface Architecture {
  /** `general.architecture` of its GGUF files. */
  readonly name: string;
  /** Metadata keys of src/weights/variants.ts, without prefix, that it computes; other files with them are refused. */
  readonly variants?: readonly string[];
  /** Every tensor a file of this architecture may have, with its exact shape. `UNSUPPORTED` for a variant not known. */
  roles(config: ModelConfig): RoleSpec[];
  /** The forward pass over proved weights. */
  build(config: ModelConfig, weights: ValidatedWeights): Plan;
}

const ARCHITECTURES: readonly Architecture[] = [
  llama,
  qwen2,
  qwen3,
  qwen3moe,
];

/** Names of the architectures, in order of their lines. */
export function architectureNames(): string[] {
  return ARCHITECTURES.map((architecture) => architecture.name);
}

/** The architecture of this exact name; `UNSUPPORTED` when there is none, never a guess. */
export function architectureOf(name: string): Architecture {
  const found = ARCHITECTURES.find((architecture) => architecture.name === name);
  if (found !== undefined) return found;
  const known = architectureNames().join(", ");
  throw new RealizarError("UNSUPPORTED", `architecture "${name}" is not known; known are ${known}`);
}
