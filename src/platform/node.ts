/** Opens the library in Node 26 and later. */
import { isScalar, type NativeOf, type Signature } from "./abi.ts";

/** The part of `node:ffi` that is used. */
interface NodeFfi {
  dlopen(path: string, symbols: Record<string, { arguments: string[]; return: string }>): { functions: unknown };
}

/** Binds every symbol of the table; throws what Node throws when the file cannot be loaded or a symbol is missing. */
export function open<T extends Record<string, Signature>>(path: string, table: T): NativeOf<T> {
  const ffi = process.getBuiltinModule("node:ffi" as "fs") as unknown as NodeFfi | undefined;
  if (ffi === undefined) throw new Error(`Node ${process.version} has no node:ffi; 26 or later is needed`);
  const symbols = Object.fromEntries(
    Object.entries(table).map(([name, s]) => [
      name,
      { arguments: s.args.map((arg) => (isScalar(arg) ? arg : "buffer")), return: s.returns },
    ]),
  );
  return ffi.dlopen(path, symbols).functions as NativeOf<T>;
}
