#!/usr/bin/env node
// The command `realizar`. Plain ES2020: `bunx` and `npx` start it with whatever Node is on PATH, which may be too old
// for the engine. Such a host only looks for one that can run it, and hands over.
import { spawn, spawnSync } from "node:child_process";
import process from "node:process";
import { fileURLToPath } from "node:url";

const FIRST_NODE_WITH_FFI = 26;

const nodeMajor = (version) => Number(/^v?(\d+)/.exec(version)[1]);

/** This process can open the native library itself. */
function canRunHere() {
  if (globalThis.Bun !== undefined || globalThis.Deno !== undefined) return true;
  return nodeMajor(process.versions.node) >= FIRST_NODE_WITH_FFI;
}

/** What a runtime on PATH says its version is; undefined when there is none. */
function versionOf(command) {
  const { status, stdout } = spawnSync(command, ["--version"], { encoding: "utf8" });
  return status === 0 ? stdout.trim() : undefined;
}

/** The command line that runs this file elsewhere: the first of bun, deno and node that can; else undefined. */
function elsewhere() {
  if (versionOf("bun") !== undefined) return ["bun"];
  if (versionOf("deno") !== undefined) return ["deno", "run", "-A"];
  const node = versionOf("node");
  return node !== undefined && nodeMajor(node) >= FIRST_NODE_WITH_FFI ? ["node"] : undefined;
}

function handOver(commandLine, file, args) {
  const child = spawn(commandLine[0], commandLine.slice(1).concat(file, args), { stdio: "inherit" });
  const forward = (signal) => child.kill(signal);
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, forward);
  child.on("close", (code, signal) => {
    if (signal === null) {
      process.exitCode = code;
      return;
    }
    for (const name of ["SIGINT", "SIGTERM", "SIGHUP"]) process.removeListener(name, forward);
    process.kill(process.pid, signal);
  });
}

const args = process.argv.slice(2);
if (canRunHere()) {
  import("../src/cli/main.ts").then(async ({ main }) => {
    process.exitCode = await main(args);
  });
} else {
  const commandLine = elsewhere();
  if (commandLine === undefined) {
    process.stderr.write(
      `realizar: Node ${process.versions.node} has no FFI; put Bun 1.4.5, Deno 2.9.6 or Node 26 (or later) on PATH.\n`,
    );
    process.exitCode = 1;
  } else {
    handOver(commandLine, fileURLToPath(import.meta.url), args);
  }
}
