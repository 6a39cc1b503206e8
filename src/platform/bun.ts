/** Opens the library in Bun. */
import { isScalar, type NativeOf, type Signature } from "./abi.ts";

/** The part of `bun:ffi` that is used. */
interface BunFfi {
  dlopen(path: string, symbols: Record<string, { args: string[]; returns: string }>): { symbols: unknown };
}

/** Binds every symbol of the table; throws what Bun throws when the file cannot be loaded or a symbol is missing. */
export function open<T extends Record<string, Signature>>(path: string, table: T): NativeOf<T> {
  const ffi = process.getBuiltinModule("bun:ffi" as "fs") as unknown as BunFfi;
  const symbols = Object.fromEntries(
    Object.entries(table).map(([name, s]) => [
      name,
      { args: s.args.map((arg) => (isScalar(arg) ? arg : "ptr")), returns: s.returns },
    ]),
  );
  return ffi.dlopen(path, symbols).symbols as NativeOf<T>;
}
