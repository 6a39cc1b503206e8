/** `realizar inspect`: what a file is, without loading it: metadata, tensors, proof, plan, memory. */
import { Model } from "../api/model.ts";
import { whyNoGpu } from "../engine/open_model.ts";
import { type PreparedModel, prepareModel } from "../engine/prepare.ts";
import { env } from "../platform/env.ts";
import { openLibrary } from "../platform/library.ts";
import { listPlan } from "../plan/listing.ts";
import type { MemoryEstimate } from "../types.ts";
import { type Command, type Flags, HELP_FLAG, JSON_FLAG, print } from "./command.ts";
import { PLACEMENT_FLAGS, placementOf } from "./model_flags.ts";

const PREVIEW_ITEMS = 8;
const PREVIEW_LENGTH = 72;

/** Everything about a file as plain data. */
function facts({ file, config, table }: PreparedModel): Record<string, unknown> {
  const metadata = Object.fromEntries([...file.metadata.entries()].map(({ key, type, n, of }) => {
    if (type === "string") return [key, file.metadata.string(key)];
    const value = file.metadata.preview(key, PREVIEW_ITEMS);
    return [key, of === undefined ? value : { n, of, first: value }];
  }));
  const dtypes: Record<string, { tensors: number; bytes: number }> = {};
  for (const { dtype, bytes } of table) {
    const sum = dtypes[dtype.name] ??= { tensors: 0, bytes: 0 };
    sum.tensors++;
    sum.bytes += bytes;
  }
  return {
    format: `GGUF ${file.version}`,
    files: file.files.map(({ name, size }) => ({ name, bytes: size })),
    architecture: config.architecture,
    name: config.name,
    parameters: table.reduce((sum, { rows, cols, nExperts }) => sum + rows * cols * nExperts, 0),
    dtypes,
    config,
    metadata,
    tensors: file.tensors.map(({ name, dtype, dims, bytes, offset }) => ({
      name,
      dtype: dtype?.name,
      dims,
      bytes,
      offset,
    })),
  };
}

function shorten(value: unknown): string {
  const text = typeof value === "string" ? value : JSON.stringify(value);
  const line = text.replaceAll("\n", "\\n");
  return line.length <= PREVIEW_LENGTH ? line : `${line.slice(0, PREVIEW_LENGTH)}... (${line.length} characters)`;
}

function describeModel(model: PreparedModel): string {
  const told = facts(model);
  const rows: [string, string][] = [
    ["format", String(told["format"])],
    ["architecture", model.config.architecture],
    ["name", model.config.name ?? "-"],
    ["parameters", `${(Number(told["parameters"]) / 1e6).toFixed(1)} M`],
    [
      "tensors",
      Object.entries(told["dtypes"] as Record<string, { tensors: number; bytes: number }>)
        .map(([dtype, { tensors, bytes }]) => `${tensors} ${dtype} (${(bytes / 1e6).toFixed(1)} MB)`).join(", "),
    ],
  ];
  const keys = Object.entries(told["metadata"] as object).map((
    [key, value],
  ): [string, string] => [key, shorten(value)]);
  const width = Math.max(...[...rows, ...keys].map(([key]) => key.length));
  return [...rows, ["", ""] as [string, string], ...keys].map(([key, value]) =>
    `${key.padEnd(width)}  ${value}`.trimEnd()
  ).join("\n");
}

/** What the model takes on the device that is asked for; else on each that works here, the one `auto` takes first. */
async function estimate(path: string, flags: Flags): Promise<MemoryEstimate[]> {
  const placement = placementOf(flags);
  const estimates = [await Model.estimate(path, placement)];
  const isAsked = placement.device !== undefined || env("REALIZAR_DEVICE") !== undefined;
  if (isAsked || whyNoGpu(openLibrary()) !== undefined) return estimates;
  for (const device of ["cuda", "cpu"] as const) {
    const other = await Model.estimate(path, { ...placement, device });
    if (other.device !== estimates[0]!.device) estimates.push(other);
  }
  return estimates;
}

async function inspect([path]: string[], flags: Flags): Promise<number> {
  const model = await prepareModel({ kind: "path", path: path! });
  const json: Record<string, unknown> = {};
  const parts: string[] = [];
  if (flags["validate"] === true) {
    json["valid"] = true;
    parts.push(`valid: ${model.table.length} weights proved against architecture "${model.config.architecture}"`);
  }
  if (flags["plan"] === true) {
    json["plan"] = listPlan(model.plan);
    parts.push(listPlan(model.plan));
  }
  if (flags["memory"] === true) {
    const estimates = await estimate(path!, flags);
    json["memory"] = estimates[0];
    json["memory_by_device"] = estimates;
    parts.push(...estimates.map((of) => Object.entries(of).map(([key, value]) => `${key}: ${value}`).join("\n")));
  }
  if (parts.length === 0) {
    Object.assign(json, facts(model));
    parts.push(describeModel(model));
  }
  await print(flags["json"] === true ? `${JSON.stringify(json)}\n` : `${parts.join("\n\n")}\n`);
  return 0;
}

export const inspectCommand: Command = {
  usage: "inspect MODEL",
  summary: "What a model file is; its weights are proved, not loaded.",
  nArguments: 1,
  flags: {
    validate: { type: "boolean", help: "only say whether the file is valid" },
    plan: { type: "boolean", help: "the plan that would run" },
    memory: { type: "boolean", help: "bytes it would take on each device, and what is free" },
    ...PLACEMENT_FLAGS,
    json: JSON_FLAG,
    help: HELP_FLAG,
  },
  run: inspect,
};
