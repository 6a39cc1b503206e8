/** Finds and opens librealizar, and turns its statuses into errors. */
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { codeOfStatus, RealizarError } from "../errors.ts";
import {
  ABI_VERSION,
  type Native,
  type NativeOf,
  type NativeTest,
  type Signature,
  SYMBOLS,
  TEST_SYMBOLS,
} from "./abi.ts";
import { open as openBun } from "./bun.ts";
import { open as openDeno } from "./deno.ts";
import { env, runtime } from "./env.ts";
import { open as openNode } from "./node.ts";

/** The library, bound; safe to open many times in a process and in every Worker. */
export interface Library {
  /** The functions of csrc/realizar.h. */
  readonly native: Native;
  /** The file it came from. */
  readonly path: string;
  /** Passes a count or handle through; throws a {@linkcode RealizarError} for a negative status of this thread. */
  check(result: number): number;
}

/** The same with the functions of the test library. */
export interface TestLibrary extends Library {
  readonly native: Native & NativeTest;
}

const FILE_NAMES: Record<string, string> = {
  linux: "librealizar.so",
  darwin: "librealizar.dylib",
  win32: "realizar.dll",
};

function bind<T extends Record<string, Signature>>(path: string, table: T): NativeOf<T> {
  const open = { bun: openBun, deno: openDeno, node: openNode }[runtime()];
  try {
    return open(path, table);
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new RealizarError("IO", `${path}: cannot be opened as the realizar library: ${why}`, { cause });
  }
}

/** Where the library is looked for when no path is given, best first. */
function candidates(): string[] {
  const file = FILE_NAMES[process.platform] ?? "librealizar.so";
  const fromEnv = env("REALIZAR_LIB");
  if (fromEnv !== undefined) return [fromEnv];
  if (!import.meta.url.startsWith("file:")) return [];
  const name = `@realizar/${process.platform}-${process.arch}`;
  const beside = [`../../zig-out/lib/${file}`, `../../../${name}/${file}`].map((p) => new URL(p, import.meta.url));
  return [...beside, ...resolved(`${name}/package.json`, file)].map((url) => fileURLToPath(url));
}

/** The file beside a package's manifest, wherever a package manager has put the package. */
function resolved(manifest: string, file: string): URL[] {
  try {
    const url = import.meta.resolve(manifest);
    return url.startsWith("file:") ? [new URL(file, url)] : [];
  } catch {
    return []; // it is not installed
  }
}

/** The library's path: the one given, else `REALIZAR_LIB`, else the build folder, else the platform package. */
export function findLibrary(path?: string): string {
  const tried = path === undefined ? candidates() : [path];
  const found = tried.find((candidate) => existsSync(candidate));
  if (found !== undefined) return found;
  const where = tried.length === 0 ? "nowhere to look" : `tried ${tried.join(", ")}`;
  throw new RealizarError("IO", `the realizar library was not found (${where}); set libraryPath or REALIZAR_LIB`);
}

function wrap<N extends Native>(native: N, path: string): Library & { readonly native: N } {
  const version = native.rz_abi_version();
  if (version !== ABI_VERSION) {
    throw new RealizarError("VERSION", `${path}: library ABI ${version}, this package needs ${ABI_VERSION}`);
  }
  return {
    native,
    path,
    check(result: number): number {
      if (result >= 0) return result;
      const text = new Uint8Array(1024);
      const n = native.rz_error_read(text, text.length);
      throw new RealizarError(codeOfStatus(-result), new TextDecoder().decode(text.subarray(0, n)));
    },
  };
}

/** Opens the library and checks its ABI version. */
export function openLibrary(path?: string): Library {
  const found = findLibrary(path);
  return wrap(bind(found, SYMBOLS), found);
}

/** Opens the test library (`librealizar_test`), which adds failure injection. */
export function openTestLibrary(path: string): TestLibrary {
  return wrap(bind(path, { ...SYMBOLS, ...TEST_SYMBOLS }), path);
}

/** Calls a function that returns the length of what it writes, growing the buffer until it fits. */
export function readAll(library: Library, call: (out: Uint8Array, cap: number) => number): Uint8Array {
  let out = new Uint8Array(4096);
  for (;;) {
    const n = library.check(call(out, out.length));
    if (n <= out.length) return out.subarray(0, n);
    out = new Uint8Array(n);
  }
}
