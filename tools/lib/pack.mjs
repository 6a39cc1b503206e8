/**
 * The npm packages: `realizar` (JavaScript and types from src/) and one package a platform with its library, of which a
 * package manager installs the one that fits. No install script, nothing is downloaded or compiled by the user.
 */
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { zigBuild } from "./native.mjs";
import { inRoot, ROOT, TOOLS } from "./paths.mjs";
import { step, StepError } from "./step.mjs";

/** Platforms by npm's names: what zig builds for them, and the library's file. */
const PLATFORMS = {
  "linux-x64": { target: "x86_64-linux-gnu.2.28", folder: "lib", library: "librealizar.so", libc: "glibc" },
  "linux-arm64": { target: "aarch64-linux-gnu.2.28", folder: "lib", library: "librealizar.so", libc: "glibc" },
  "darwin-arm64": { target: "aarch64-macos", folder: "lib", library: "librealizar.dylib" },
  "win32-x64": { target: "x86_64-windows-gnu", folder: "bin", library: "realizar.dll" },
};

/** Every platform that has a package. */
export const PLATFORM_NAMES = Object.keys(PLATFORMS);

/** This machine's, whose library is the one in zig-out. */
export const HERE = `${process.platform}-${process.arch}`;

const DIST = inRoot("dist", "npm");

function writePackage(folder, manifest) {
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, "package.json"), `${JSON.stringify(manifest, null, 2)}\n`);
  cpSync(inRoot("LICENSE"), join(folder, "LICENSE"));
}

/** The tarball of a package folder, in dist/npm. */
async function tarball(folder) {
  const args = ["pack", "--silent", "--pack-destination", DIST, folder];
  const name =
    (await step({ title: `pack: ${folder.slice(DIST.length + 1)}`, command: "npm", args, remedy: "See npm." }))
      .trim().split("\n").at(-1);
  return join(DIST, name);
}

/** `exports` of package.json, pointing at what tsc made of it. */
function compiledExports(exports) {
  return Object.fromEntries(
    Object.entries(exports).map(([name, file]) => {
      const base = file.replace("./src/", "./dist/").replace(/\.ts$/, "");
      return [name, { types: `${base}.d.ts`, default: `${base}.js` }];
    }),
  );
}

/** The main package, with the platform packages of `platforms` as optional dependencies of the same version. */
async function packMain(source, platforms) {
  const folder = join(DIST, "realizar");
  const { name, version, description, license, type, exports, bin, engines, dependencies } = source;
  const { peerDependencies, peerDependenciesMeta } = source;
  writePackage(folder, {
    name,
    version,
    description,
    license,
    type,
    exports: compiledExports(exports),
    bin,
    engines,
    dependencies,
    optionalDependencies: Object.fromEntries(platforms.map((platform) => [`@realizar/${platform}`, version])),
    ...(peerDependencies === undefined ? {} : { peerDependencies, peerDependenciesMeta }),
  });
  await step({
    title: "pack: JavaScript and types",
    command: TOOLS.tsc,
    args: ["-p", inRoot("tools", "tsconfig.package.json")],
    cwd: ROOT,
    remedy: "Fix the types.",
  });
  cpSync(inRoot("README.md"), join(folder, "README.md"));
  mkdirSync(join(folder, "bin"));
  const launcher = readFileSync(inRoot("bin", "realizar.js"), "utf8");
  const compiled = launcher.replace("../src/cli/main.ts", "../dist/cli/main.js");
  if (compiled === launcher) throw new StepError("pack: bin/realizar.js does not import ../src/cli/main.ts any more");
  writeFileSync(join(folder, "bin", "realizar.js"), compiled, { mode: 0o755 });
  return await tarball(folder);
}

/** The library for another platform, compiled into `folder`. */
async function crossCompile(platform, folder) {
  const { target, folder: from, library } = PLATFORMS[platform];
  const built = join(DIST, `build-${platform}`);
  await zigBuild(`pack: library for ${platform}`, [
    "release",
    `-Dtarget=${target}`,
    "-Dcpu=baseline",
    "--prefix",
    built,
  ]);
  cpSync(join(built, from, library), join(folder, library));
  rmSync(built, { recursive: true });
}

async function packPlatform(platform, { version, license }) {
  const { library, libc } = PLATFORMS[platform];
  const folder = join(DIST, platform);
  const [os, cpu] = platform.split("-");
  writePackage(folder, {
    name: `@realizar/${platform}`,
    version,
    description: `The native library of realizar for ${platform}.`,
    license,
    os: [os],
    cpu: [cpu],
    ...(libc === undefined ? {} : { libc: [libc] }),
  });
  if (platform === HERE) cpSync(inRoot("zig-out", "lib", library), join(folder, library));
  else await crossCompile(platform, folder);
  return await tarball(folder);
}

/**
 * Packs the main package and those of `platforms`; returns the tarballs, the main one first. This machine's library
 * must be built.
 */
export async function packAll(platforms) {
  rmSync(DIST, { recursive: true, force: true });
  mkdirSync(DIST, { recursive: true });
  const source = JSON.parse(readFileSync(inRoot("package.json"), "utf8"));
  const main = await packMain(source, platforms);
  const others = [];
  for (const platform of platforms) others.push(await packPlatform(platform, source));
  return [main, ...others];
}
