/**
 * The corpus of GGUF files: hostile ones with the error that each must give, and odd ones that must load. All are
 * small variations of a good file, made in memory, the same on every run. To look at one, write them to a folder:
 *
 *     node tests/corpus/gguf/make_corpus.ts FOLDER
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { pathToFileURL } from "node:url";
import type { ErrorCode } from "../../../src/errors.ts";
import { configCases } from "./config_cases.ts";
import { headerCases } from "./header_cases.ts";
import { metadataCases } from "./metadata_cases.ts";
import { oddCases } from "./odd_cases.ts";
import { tensorCases } from "./tensor_cases.ts";
import { vocabCases } from "./vocab_cases.ts";

/** One file. */
export interface CorpusCase {
  /** Unique; says what is special about the file. */
  readonly name: string;
  /** The code that loading must end with, or "OK". */
  readonly expect: ErrorCode | "OK";
  /** A part of the message, where the code alone could come from another check. */
  readonly message?: RegExp;
  readonly bytes: Uint8Array;
}

/** Files that must be refused. */
export function hostileCases(): CorpusCase[] {
  return [...headerCases(), ...metadataCases(), ...tensorCases(), ...configCases(), ...vocabCases()];
}

/** Files that are strange and must load. */
export { oddCases };

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const folder = process.argv[2];
  if (folder === undefined) throw new Error("give a folder to write to");
  mkdirSync(folder, { recursive: true });
  for (const { name, expect, bytes } of [...hostileCases(), ...oddCases()]) {
    writeFileSync(join(folder, `${expect.toLowerCase()}.${name.replace(/[^a-z0-9]+/gi, "_")}.gguf`), bytes);
  }
}
