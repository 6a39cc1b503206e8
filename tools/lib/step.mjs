/** Runs a long command as one named step: progress on stderr, quiet when it works, everything when it fails. */
import { spawn } from "node:child_process";
import { lstatSync, readdirSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";

/** A step that failed; the message says what failed and what to do. */
export class StepError extends Error {}

const KEPT_BYTES = 16 * 1024;

/** Bytes below a folder that is being filled; what vanishes meanwhile counts 0. */
function folderBytes(path) {
  try {
    const stat = lstatSync(path);
    if (!stat.isDirectory()) return stat.size;
    return readdirSync(path).reduce((sum, name) => sum + folderBytes(join(path, name)), 0);
  } catch {
    return 0;
  }
}

/** Tells every so often that a step is alive: each second on a terminal (one line, rewritten), else every 15 s. */
function heartbeat(title, watch) {
  const started = performance.now();
  const seconds = () => Math.round((performance.now() - started) / 1000);
  const terminal = process.stderr.isTTY;
  process.stderr.write(terminal ? `${title} ...` : `${title} ...\n`);
  const timer = setInterval(() => {
    const mb = watch === undefined ? 0 : Math.round(folderBytes(watch) / 1e6);
    const size = mb === 0 ? "" : `, ${mb} MB`;
    process.stderr.write(`${terminal ? "\r\x1b[K" : ""}${title} ... ${seconds()} s${size}${terminal ? "" : "\n"}`);
  }, terminal ? 1000 : 15000);
  return (outcome) => {
    clearInterval(timer);
    process.stderr.write(`${terminal ? "\r\x1b[K" : ""}${title}: ${outcome} (${seconds()} s)\n`);
  };
}

/**
 * Runs `command` with `args`; resolves to its output (stdout and stderr together), rejects with a StepError that ends
 * with `remedy`.
 * @param {{ title: string, command: string, args: string[], remedy: string, env?: Record<string, string>,
 *   cwd?: string, watch?: string, show?: boolean, quiet?: boolean }} options  watch: a folder whose size shows the
 *   progress; show: pass the output through as it comes, without a heartbeat; quiet: tell only a failure
 */
export function step({ title, command, args, remedy, env, cwd, watch, show, quiet }) {
  const done = show || quiet ? () => {} : heartbeat(title, watch);
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      cwd,
      env: { ...process.env, ...env },
      stdio: ["ignore", "pipe", "pipe"],
    });
    let output = "";
    const take = (chunk) => {
      output = (output + chunk).slice(-KEPT_BYTES);
      if (show) process.stderr.write(chunk);
    };
    child.stdout.setEncoding("utf8").on("data", take);
    child.stderr.setEncoding("utf8").on("data", take);
    child.on("error", (error) => {
      done("FAILED");
      reject(new StepError(`${title}: ${command} could not be started (${error.message}).\n${remedy}`));
    });
    child.on("close", (code, signal) => {
      done(code === 0 ? "done" : "FAILED");
      if (code === 0) return resolve(output);
      const how = signal === null ? `ended with status ${code}` : `was ended by ${signal}`;
      reject(new StepError(`${show ? "" : output}\n${title}: ${command} ${how}.\n${remedy}`));
    });
  });
}

/** Runs a tool's main function: a StepError is told in its own words, anything else with its stack. */
export async function main(run) {
  try {
    process.exitCode = (await run()) ?? 0;
  } catch (error) {
    process.stderr.write(`\n${error instanceof StepError ? error.message : error.stack}\n`);
    process.exitCode = 1;
  }
}
