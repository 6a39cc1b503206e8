/** What a command of the command line is, and what they share: flags, output, failures. */
import { parseArgs } from "node:util";
import { RealizarError } from "../errors.ts";

/** One flag: how parseArgs reads it, and its line in the help. */
export interface Flag {
  type: "string" | "boolean";
  short?: string;
  /** Name of the value in the help. */
  value?: string;
  help: string;
  /** A string flag that may stand alone; the argument behind it is its value when it ends so. Alone it is "". */
  optional?: string;
}

/** Values of flags as given; undefined = not given. */
export type Flags = Record<string, string | boolean | undefined>;

/** A command. */
export interface Command {
  /** After the program's name, e.g. `run MODEL`. */
  usage: string;
  summary: string;
  flags: Record<string, Flag>;
  /** Arguments that must be there. */
  nArguments: number;
  /** Resolves with the exit status. */
  run(args: string[], flags: Flags): Promise<number>;
}

/** Wrong use of the command line: exit status 2. */
export class UsageError extends Error {}

/** The number a flag gives, or undefined. */
export function numberFlag(flags: Flags, name: string): number | undefined {
  const text = flags[name];
  if (text === undefined) return undefined;
  const value = Number(text);
  if (typeof text !== "string" || text.trim() === "" || Number.isNaN(value)) {
    throw new UsageError(`--${name}: got ${JSON.stringify(text)}, expected a number`);
  }
  return value;
}

/** The text a flag gives, or undefined. */
export function textFlag(flags: Flags, name: string): string | undefined {
  const text = flags[name];
  return typeof text === "string" ? text : undefined;
}

/** A list of whole numbers such as `128,512`. */
export function listFlag(flags: Flags, name: string): number[] | undefined {
  const text = textFlag(flags, name);
  return text?.split(",").map((part) => {
    const value = Number(part);
    if (part.trim() === "" || !Number.isInteger(value) || value < 0) {
      throw new UsageError(`--${name}: got ${JSON.stringify(text)}, expected whole numbers such as 128,512`);
    }
    return value;
  });
}

/** Arguments and flags of a command; throws {@linkcode UsageError}. */
export function parse(command: Command, argv: string[]): { args: string[]; flags: Flags } {
  const options = Object.fromEntries(
    Object.entries(command.flags).map((
      [name, { type, short }],
    ) => [name, short === undefined ? { type } : { type, short }]),
  );
  // parseArgs knows no optional values: a flag that stands alone becomes one with an empty value.
  const args = argv.map((arg, i) => {
    const ending = arg.startsWith("--") ? command.flags[arg.slice(2)]?.optional : undefined;
    return ending === undefined || argv[i + 1]?.endsWith(ending) ? arg : `${arg}=`;
  });
  let parsed: { values: object; positionals: string[] };
  try {
    parsed = parseArgs({ args, options, allowPositionals: true, strict: true });
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
  const { positionals } = parsed;
  const flags = { ...parsed.values } as Flags;
  if (flags["help"] !== true && positionals.length !== command.nArguments) {
    throw new UsageError(`got ${positionals.length} arguments, expected ${command.nArguments}`);
  }
  return { args: positionals, flags };
}

/** The help text of a command. */
export function helpOf(command: Command): string {
  const rows = Object.entries(command.flags).map(([name, flag]) => {
    const short = flag.short === undefined ? "" : `-${flag.short}, `;
    return [`${short}--${name}${flag.value === undefined ? "" : ` ${flag.value}`}`, flag.help] as const;
  });
  const width = Math.max(...rows.map(([left]) => left.length));
  const lines = rows.map(([left, help]) => `  ${left.padEnd(width)}  ${help}`);
  return [`realizar ${command.usage}`, command.summary, "", ...lines].join("\n");
}

/** Writes to stdout, resolving when it was taken: a pipe that is read slowly slows the writer down. */
export function print(text: string): Promise<void> {
  return new Promise((resolve, reject) => process.stdout.write(text, (error) => error ? reject(error) : resolve()));
}

/** Writes a line to stderr. */
export function note(line: string): void {
  process.stderr.write(`${line}\n`);
}

/** One line for a failure, with the list of problems when there are several. */
export function describe(error: unknown): string {
  if (!(error instanceof RealizarError)) return error instanceof Error ? error.message : String(error);
  const list = error.problems.length > 1 ? error.problems.map((problem) => `\n  ${problem}`).join("") : "";
  return `${error.code}: ${error.message}${list}`;
}

export const HELP_FLAG: Flag = { type: "boolean", short: "h", help: "show this text" };
export const JSON_FLAG: Flag = { type: "boolean", help: "print one JSON object and nothing else" };
