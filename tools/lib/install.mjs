/** Fetches the pinned tools: npm's by its lock file, zig and nvcc from PyPI. What is there already is left alone. */
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { inRoot, OPENAI_PACKAGES, PINS, ROOT, TOOLS, ZIG_PACKAGE } from "./paths.mjs";
import { observeInputs, upToDate, writeStamp } from "./stamp.mjs";
import { step, StepError } from "./step.mjs";

const NPM_STAMP = inRoot("node_modules", ".realizar-stamp.json");
const NETWORK =
  "Check the network (a proxy or a mirror is set in npm's and pip's own configuration), then run it again.";

/** The tools are pinned for one kind of machine; elsewhere say so before anything is fetched. */
export function checkMachine() {
  if (process.platform === "linux" && process.arch === "x64") return;
  throw new StepError(
    `The set-up of this checkout is for x86-64 Linux; this is ${process.platform} ${process.arch}.\n` +
      "With zig 0.17 at hand, `zig build` alone builds the library; Bun 1.4.5, Deno 2.9.6 or Node 26 run it.",
  );
}

/** What npm wrote about node_modules agrees with the lock file, as far as this machine's packages go. */
function installedMatchesLock() {
  const hidden = inRoot("node_modules", ".package-lock.json");
  if (!existsSync(hidden)) return false;
  const wanted = JSON.parse(readFileSync(inRoot("package-lock.json"), "utf8")).packages;
  const got = JSON.parse(readFileSync(hidden, "utf8")).packages;
  return Object.entries(wanted).every(([path, entry]) => {
    if (!path.startsWith("node_modules/") || entry.link) return true;
    const found = got[path];
    return found === undefined ? entry.optional === true : found.integrity === entry.integrity;
  });
}

function npmCommand() {
  const cli = process.env.npm_execpath;
  if (cli?.endsWith("npm-cli.js")) return { command: process.execPath, args: [cli] };
  return { command: "npm", args: [] };
}

/** A package whose executable comes with its install script; some configurations of npm don't run those. */
async function finishInstall(name, executable, script) {
  if (spawnSync(executable, ["--version"], { stdio: "ignore" }).status === 0) return;
  await step({
    title: `setup: ${name}'s executable`,
    command: process.execPath,
    args: [script],
    cwd: inRoot("node_modules", name),
    remedy: `Remove node_modules and run it again. ${NETWORK}`,
  });
}

/** node_modules, as package-lock.json says: Bun, Deno, Node 26 and TypeScript. */
export async function installNpmPackages() {
  const inputs = ["package-lock.json", "tests/assert/package.json"];
  const outputs = [TOOLS.bun, TOOLS.deno, TOOLS.node, TOOLS.tsc];
  if (upToDate(NPM_STAMP, inputs, outputs)) return;
  const seen = observeInputs(inputs);
  if (!installedMatchesLock()) {
    const { command, args } = npmCommand();
    await step({
      title: "setup: npm packages (Bun, Deno, Node 26, TypeScript; about 150 MB)",
      command,
      args: [...args, "ci", "--no-audit", "--no-fund", "--loglevel=error"],
      cwd: ROOT,
      remedy: NETWORK,
    });
  }
  await finishInstall("bun", TOOLS.bun, "install.js");
  await finishInstall("deno", TOOLS.deno, "install.cjs");
  writeStamp(NPM_STAMP, seen, outputs);
}

/** The packages of a folder with a package.json of its own, as its lock file says: `npm COMMAND`. */
async function installFolder(folder, title, npm) {
  const stamp = inRoot(folder, "node_modules", ".realizar-stamp.json");
  const inputs = [`${folder}/package-lock.json`];
  const outputs = [inRoot(folder, "node_modules", ".package-lock.json")];
  if (upToDate(stamp, inputs, outputs)) return;
  const seen = observeInputs(inputs);
  const { command, args } = npmCommand();
  await step({
    title,
    command,
    args: [...args, ...npm, "--no-audit", "--no-fund", "--loglevel=error"],
    cwd: inRoot(folder),
    remedy: NETWORK,
  });
  writeStamp(stamp, seen, outputs);
}

/** The engines that bench/ compares with; not needed for anything else. */
export function installPeers() {
  // Not `npm ci`: it insists on lock entries for the builds for other platforms, which are left out here.
  const npm = ["install", "--no-save", "--omit=optional", "--ignore-scripts"];
  return installFolder("bench/peers", "bench: llama.cpp (node-llama-cpp, 85 MB)", npm);
}

/** The published vocabularies that the tokenizer's tests compare; not needed for anything else. */
export function installVocabularies() {
  return installFolder("tests/vocab", "setup: vocabularies for the tests", ["ci"]);
}

/** The clients of other people that the server's tests use; not needed for anything else. */
export function installClients() {
  return installFolder("tests/clients", "setup: clients for the tests", ["ci", "--ignore-scripts"]);
}

/** The JSON Schema validator that the tests of grammars use; not needed for anything else. */
export function installSchemas() {
  return installFolder("tests/schemas", "setup: a JSON Schema validator for the tests", ["ci", "--ignore-scripts"]);
}

/** Installs PyPI packages into a folder of their own, which appears only when it is complete. */
async function installFromPypi(title, requirements, folder) {
  const partial = `${folder}.partial.${process.pid}`;
  rmSync(partial, { recursive: true, force: true });
  mkdirSync(partial, { recursive: true });
  const list = join(partial, "requirements.txt");
  writeFileSync(list, requirements.join("\n") + "\n");
  try {
    const target = join(partial, "packages");
    await step({
      title,
      command: TOOLS.python,
      args: ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input", "--no-deps"]
        .concat(["--no-compile", "--require-hashes", "--only-binary", ":all:", "--target", target, "-r", list]),
      env: { TMPDIR: partial },
      watch: partial,
      remedy: `It needs Python 3 with pip (Debian: apt install python3-pip). ${NETWORK}`,
    });
    rmSync(folder, { recursive: true, force: true });
    renameSync(target, folder);
  } finally {
    rmSync(partial, { recursive: true, force: true });
  }
}

/** zig, with its own libc headers and linker: the C compiler for every target. */
export async function installZig() {
  const { version, requirements, download_mb } = PINS.zig;
  if (existsSync(join(ZIG_PACKAGE, `ziglang-${version}.dist-info`))) return;
  await installFromPypi(`setup: zig ${version} (${download_mb} MB)`, requirements, ZIG_PACKAGE);
}

/** PyPI openai, a client that the server's tests use. Without Python or its index those tests are skipped by name. */
export async function installPythonClient() {
  const { version, requirements, download_mb } = PINS.openai;
  if (existsSync(join(OPENAI_PACKAGES, `openai-${version}.dist-info`))) return;
  try {
    await installFromPypi(`setup: PyPI openai ${version} (${download_mb} MB)`, requirements, OPENAI_PACKAGES);
  } catch (error) {
    if (!(error instanceof StepError)) throw error;
    process.stderr.write(`${error.message}\nThe tests of PyPI openai are skipped.\n`);
  }
}

/** nvcc and its headers, for CUDA kernels; only fetched on request. Returns nvcc's path. */
export async function installCuda() {
  const { version, requirements, download_mb } = PINS.cuda;
  const folder = inRoot(".tools", "cuda");
  if (!existsSync(join(folder, `nvidia_cuda_nvcc-${version}.dist-info`))) {
    await installFromPypi(`setup: nvcc ${version} (${download_mb} MB)`, requirements, folder);
  }
  return join(folder, "nvidia", "cu13", "bin", "nvcc");
}
