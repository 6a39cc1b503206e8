/** The architectures: one line each. docs/adding_an_architecture.md walks through adding one. */
import { RealizarError } from "../errors.ts";
import type { Architecture } from "./architecture.ts";
import { llama } from "./llama.ts";
import { qwen2 } from "./qwen2.ts";
import { qwen3 } from "./qwen3.ts";
import { qwen3moe } from "./qwen3moe.ts";

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
