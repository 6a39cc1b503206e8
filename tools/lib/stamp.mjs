/**
 * Stamps: a small file that says which inputs something was made from. Looking it up costs one stat per input; only
 * when a size or time differs are contents hashed, so a checkout that merely touched its files makes nothing again.
 */
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, statSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import process from "node:process";
import { ROOT } from "./paths.mjs";

/** Every file below a path of the checkout, as sorted relative paths; a path that is not there has none. */
export function filesBelow(path) {
  const full = join(ROOT, path);
  if (!existsSync(full)) return [];
  if (!statSync(full).isDirectory()) return [path];
  return readdirSync(full).sort().flatMap((name) => filesBelow(`${path}/${name}`));
}

function observe(files) {
  return files.map((file) => {
    const { size, mtimeMs } = statSync(resolve(ROOT, file));
    return `${file} ${size} ${mtimeMs}`;
  });
}

const same = (now, then) => now.length === then?.length && now.every((line, i) => line === then[i]);

function hash(files) {
  const sum = createHash("sha256");
  for (const file of files) {
    const bytes = readFileSync(join(ROOT, file));
    sum.update(`${file} ${bytes.length}\n`).update(bytes);
  }
  return sum.digest("hex");
}

function write(stamp, content) {
  mkdirSync(dirname(stamp), { recursive: true });
  const partial = `${stamp}.${process.pid}`;
  writeFileSync(partial, JSON.stringify(content));
  renameSync(partial, stamp);
}

/** Looks at the inputs now. Take it before the work: a file edited during the work then counts as changed. */
export function observeInputs(paths) {
  const files = paths.flatMap(filesBelow);
  return { seen: observe(files), sha256: hash(files) };
}

/** True when `stamp` was written for exactly these inputs and the outputs are still those that were made then. */
export function upToDate(stamp, paths, outputs) {
  if (!existsSync(stamp) || !outputs.every((output) => existsSync(output))) return false;
  let old;
  try {
    old = JSON.parse(readFileSync(stamp, "utf8"));
  } catch {
    return false; // not a stamp of this version: make it again
  }
  if (!same(observe(outputs), old.made)) return false;
  const files = paths.flatMap(filesBelow);
  const seen = observe(files);
  if (same(seen, old.seen)) return true;
  if (hash(files) !== old.sha256) return false;
  write(stamp, { ...old, seen });
  return true;
}

/** Records that the outputs were made from what observeInputs saw. */
export function writeStamp(stamp, inputs, outputs) {
  write(stamp, { ...inputs, made: observe(outputs) });
}
