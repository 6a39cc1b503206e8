/** Other people's packages that the tests run against this library; skipped by name where they are not installed. */
import { existsSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { inRoot } from "./support.ts";

/** Entry files, as the packages' own package.json name them for `import`. */
const ENTRIES = {
  ai: "dist/index.js",
  "@ai-sdk/openai": "dist/index.js",
  "@ai-sdk/openai-compatible": "dist/index.js",
  "@anthropic-ai/sdk": "index.mjs",
  "@langchain/core": "dist/messages/index.js",
  "@langchain/openai": "dist/index.js",
  ollama: "dist/index.mjs",
  openai: "index.mjs",
  "openai/helpers": "zod.mjs",
  zod: "index.js",
} as const;

function entryOf(name: keyof typeof ENTRIES): string {
  return inRoot("tests", "clients", "node_modules", name, ENTRIES[name]);
}

/** Why tests with these packages can't run; undefined when they can. */
export function missingClients(...names: (keyof typeof ENTRIES)[]): string | undefined {
  return names.every((name) => existsSync(entryOf(name))) ? undefined : "not installed: npm ci --prefix tests/clients";
}

/** The package, imported. Its types are told by the caller: they are not installed with the tools. */
export async function importClient<T>(name: keyof typeof ENTRIES): Promise<T> {
  return await import(pathToFileURL(entryOf(name)).href) as T;
}
