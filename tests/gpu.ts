/** Whether this machine has a GPU that the library can use. */
import { openLibrary, readAll } from "../src/platform/library.ts";

/** Why there is none, undefined when there is one. */
export function noGpu(): string | undefined {
  const library = openLibrary();
  const bytes = readAll(library, (out, cap) => library.native.rz_library_info(out, cap));
  const { backends } = JSON.parse(new TextDecoder().decode(bytes)) as {
    backends: { name: string; usable: boolean; why?: string }[];
  };
  const found = backends.find(({ name }) => name === "cuda");
  if (found?.usable) return undefined;
  return `no GPU: ${found?.why ?? "the library knows none"}`;
}
