/** What every architecture file exports. */
import type { Plan } from "../plan/plan.ts";
import type { ModelConfig } from "../weights/config.ts";
import type { RoleSpec } from "../weights/roles.ts";
import type { ValidatedWeights } from "../weights/validate.ts";

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
