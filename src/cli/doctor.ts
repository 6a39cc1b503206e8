/** `realizar doctor`: what this machine and this installation can do, and what to do where they can't. */
import { openLibrary, readAll } from "../platform/library.ts";
import { env, runtimeVersion } from "../platform/env.ts";
import { type Command, describe, type Flags, HELP_FLAG, JSON_FLAG, print } from "./command.ts";

const VARIABLES = ["REALIZAR_LIB", "REALIZAR_DEVICE", "REALIZAR_THREADS", "REALIZAR_ISA"];

function report(): Record<string, unknown> {
  const variables = Object.fromEntries(VARIABLES.map((name) => [name, env(name) ?? null]));
  const common = { runtime: runtimeVersion(), platform: `${process.platform}-${process.arch}`, variables };
  try {
    const library = openLibrary();
    const bytes = readAll(library, (out, cap) => library.native.rz_library_info(out, cap));
    return { ...common, library: library.path, ...JSON.parse(new TextDecoder().decode(bytes)) as object };
  } catch (error) {
    return { ...common, library: null, problem: describe(error) };
  }
}

/** Nested data as indented lines. */
function lines(value: unknown, indent: string): string[] {
  if (typeof value !== "object" || value === null) return [`${indent}${String(value)}`];
  return Object.entries(value).flatMap(([key, inner]) => {
    if (typeof inner !== "object" || inner === null) {
      return [`${indent}${key}: ${inner === null ? "not set" : String(inner)}`];
    }
    if (Array.isArray(inner) && inner.every((one) => typeof one !== "object")) {
      return [`${indent}${key}: ${inner.join(", ")}`];
    }
    return [`${indent}${Array.isArray(value) ? "-" : `${key}:`}`, ...lines(inner, `${indent}  `)];
  });
}

async function doctor(_args: string[], flags: Flags): Promise<number> {
  const found = report();
  await print(flags["json"] === true ? `${JSON.stringify(found)}\n` : `${lines(found, "").join("\n")}\n`);
  return found["library"] === null ? 1 : 0;
}

export const doctorCommand: Command = {
  usage: "doctor",
  summary: "What runs here: runtime, library, instruction sets, devices, and why not.",
  nArguments: 0,
  flags: { json: JSON_FLAG, help: HELP_FLAG },
  run: doctor,
};
