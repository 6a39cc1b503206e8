/** `realizar watch`: computes a prompt and looks at every value on the way; the first wrong one is told. */
import type { Model } from "../api/model.ts";
import type { WatchFinding } from "../types.ts";
import { type Command, type Flags, HELP_FLAG, JSON_FLAG, numberFlag, print, textFlag } from "./command.ts";
import { loadModel, PLACEMENT_FLAGS, placementOf } from "./model_flags.ts";

/** Loads what a text is compared with; undefined when nothing is. */
async function loadOther(path: string, flags: Flags): Promise<Model | undefined> {
  const device = textFlag(flags, "compare");
  return device === undefined ? undefined : await loadModel(path, placementOf({ ...flags, device, kv: undefined }));
}

function describe({ name, what, row, col, value, limit }: WatchFinding): string {
  const where = `${name}, row ${row}${col === undefined ? "" : `, column ${col}`}`;
  if (what === "differs") return `${where}: differs by ${value.toExponential(2)} of its size, limit ${limit}`;
  return `${where}: ${value}${what === "range" ? `, limit ${limit}` : " is not finite"}`;
}

async function watch([path]: string[], flags: Flags): Promise<number> {
  await using model = await loadModel(path!, placementOf(flags));
  await using other = await loadOther(path!, flags);
  const tokens = await model.tokenize(textFlag(flags, "prompt") ?? "The quick brown fox jumps over the lazy dog.");
  const names = textFlag(flags, "names")?.split(",");
  const finding = model.watch(tokens, {
    names,
    range: numberFlag(flags, "range"),
    tolerance: numberFlag(flags, "tolerance"),
    compare: other,
  });
  if (flags["json"] === true) await print(`${JSON.stringify(finding ?? null)}\n`);
  else if (finding !== undefined) await print(`${describe(finding)}\n`);
  else await print(`${names === undefined ? model.valueNames().length : "all"} values are fine\n`);
  return finding === undefined ? 0 : 1;
}

export const watchCommand: Command = {
  usage: "watch MODEL",
  summary: "Looks at every value of a forward pass; tells the first that is wrong.",
  nArguments: 1,
  flags: {
    prompt: { type: "string", short: "p", value: "TEXT", help: "the tokens to compute (default: a sentence)" },
    names: { type: "string", value: "A,..", help: "values, or ends of names such as .ffn_down (default: all)" },
    range: { type: "string", value: "X", help: "largest absolute value that is fine (default: any finite one)" },
    compare: { type: "string", value: "D", help: "compare with this device, e.g. ref" },
    tolerance: { type: "string", value: "E", help: "relative error of a row that is fine (default 0.01)" },
    ...PLACEMENT_FLAGS,
    json: JSON_FLAG,
    help: HELP_FLAG,
  },
  run: watch,
};
