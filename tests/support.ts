/**
 * What every test file uses. `test`, `skip` and `leakCheck` hide where node:test differs between the runtimes: tests
 * are flat, a skip is decided before the test is registered and its reason is part of the name, and the leak check is
 * an ordinary test, the last of its file (Deno never runs a file-level `after`).
 */
import { existsSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import { test as nodeTest } from "node:test";
import { fileURLToPath } from "node:url";
import { assertEquals } from "@std/assert";
import { STRUCTS } from "../src/platform/abi.ts";
import { env } from "../src/platform/env.ts";
import { openLibrary, openTestLibrary, type TestLibrary } from "../src/platform/library.ts";
import { readRecord } from "../src/record.ts";

/** Registers a test. One that returns a promise is awaited. */
export function test(name: string, fn: () => void | Promise<void>): void {
  nodeTest(name, fn);
}

/** Registers a test that cannot run here, with the reason why: it is counted and named in every report. */
export function skip(name: string, reason: string): void {
  nodeTest(`${name} [skipped: ${reason}]`, { skip: true }, () => {});
}

/** Registers the test when `reason` is undefined, else a skip. */
export function testUnless(reason: string | undefined, name: string, fn: () => void | Promise<void>): void {
  if (reason === undefined) test(name, fn);
  else skip(name, reason);
}

/**
 * Registers the last test of a file: every native object of this process is closed and its memory freed. A file that
 * uses the test library passes it, since each library counts for itself.
 */
export function leakCheck(
  library?: () => { native: { rz_library_stats: (out: Uint8Array, cap: number) => number } },
): void {
  test("nothing is left open in the native library", () => {
    const { native } = library === undefined ? openLibrary() : library();
    const bytes = new Uint8Array(STRUCTS.rz_stats.size);
    assertEquals(native.rz_library_stats(bytes, bytes.length), bytes.length);
    const live = Object.entries(readRecord(STRUCTS.rz_stats, bytes)).filter(([name, n]) =>
      name !== "peak_bytes" && n !== 0
    );
    assertEquals(Object.fromEntries(live), {});
  });
}

/** The checkout, without a trailing separator. */
export const ROOT: string = fileURLToPath(new URL("..", import.meta.url)).replace(/[\\/]$/, "");

/** A path inside the checkout. */
export function inRoot(...parts: string[]): string {
  return join(ROOT, ...parts);
}

/** Where `zig build` puts the release library. */
export const LIBRARY_PATH: string = inRoot("zig-out", "lib", "librealizar.so");
/** The same with the rz_test_* hooks. */
export const TEST_LIBRARY_PATH: string = inRoot("zig-out", "lib", "librealizar_test.so");

/** Opens the test library. */
export function testLibrary(): TestLibrary {
  return openTestLibrary(TEST_LIBRARY_PATH);
}

/** The demo's model, SmolLM2-135M-Instruct in Q4_1, which `npm run setup` fetches: its path, or why it is not there. */
export function realModel(): { path: string } | { missing: string } {
  const file = "SmolLM2-135M-Instruct.Q4_1.gguf";
  const cache = env("XDG_CACHE_HOME") ?? join(homedir(), ".cache");
  const path = env("REALIZAR_TEST_MODEL") ?? join(cache, "realizar", "models", file);
  return existsSync(path) ? { path } : { missing: `${file} is not in the cache: npm run setup` };
}

/** A folder of its own for one test, removed when the returned object is disposed. */
export function tempFolder(): { path: string; file(name: string): string } & Disposable {
  const base = join(tmpdir(), "realizar-tests");
  mkdirSync(base, { recursive: true });
  const path = mkdtempSync(join(base, "t-"));
  return {
    path,
    file: (name) => join(path, name),
    [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true }),
  };
}
