/** Which runtime this is, and its environment variables. */

/** The runtimes this library knows. */
export type Runtime = "bun" | "deno" | "node";

interface DenoPermissions {
  version: { deno: string };
  permissions: { querySync(descriptor: { name: "env"; variable: string }): { state: string } };
}

function denoNamespace(): DenoPermissions | undefined {
  return (globalThis as { Deno?: DenoPermissions }).Deno;
}

/** The runtime this code runs in. */
export function runtime(): Runtime {
  if (denoNamespace() !== undefined) return "deno";
  return (globalThis as { Bun?: unknown }).Bun === undefined ? "node" : "bun";
}

/** Name and version of the runtime, e.g. `deno 2.9.6`. */
export function runtimeVersion(): string {
  const deno = denoNamespace();
  if (deno !== undefined) return `deno ${deno.version.deno}`;
  const bun = (globalThis as { Bun?: { version: string } }).Bun;
  return bun === undefined ? `node ${process.version.slice(1)}` : `bun ${bun.version}`;
}

/** An environment variable; unset, empty, or (in Deno) not permitted is undefined. Never prompts. */
export function env(name: string): string | undefined {
  const deno = denoNamespace();
  if (deno !== undefined && deno.permissions.querySync({ name: "env", variable: name }).state !== "granted") {
    return undefined;
  }
  return process.env[name] || undefined;
}
