/** Opens the library in Deno. Needs `--allow-ffi=<the library>`. */
import { isScalar, type NativeOf, type Signature } from "./abi.ts";

/** The part of the `Deno` namespace that is used. */
interface DenoFfi {
  dlopen(path: string, symbols: Record<string, { parameters: string[]; result: string }>): { symbols: unknown };
}

/** Binds every symbol of the table; throws what Deno throws when the file cannot be loaded or a symbol is missing. */
export function open<T extends Record<string, Signature>>(path: string, table: T): NativeOf<T> {
  const { Deno } = globalThis as unknown as { Deno: DenoFfi };
  const symbols = Object.fromEntries(
    Object.entries(table).map(([name, s]) => [
      name,
      { parameters: s.args.map((arg) => (isScalar(arg) ? arg : "buffer")), result: s.returns },
    ]),
  );
  return Deno.dlopen(path, symbols).symbols as NativeOf<T>;
}
