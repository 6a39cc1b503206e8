/** The command `realizar`. Exit status: 0 done, 1 a failure (one line on stderr), 2 wrong use. */
import process from "node:process";
import { benchCommand } from "./bench.ts";
import { chatCommand } from "./chat.ts";
import { type Command, describe, helpOf, note, parse, print, UsageError } from "./command.ts";
import { doctorCommand } from "./doctor.ts";
import { inspectCommand } from "./inspect.ts";
import { runCommand } from "./run.ts";
import { serveCommand } from "./serve.ts";
import { watchCommand } from "./watch.ts";

/** The commands: one line each. */
const COMMANDS: Record<string, Command> = {
  run: runCommand,
  chat: chatCommand,
  serve: serveCommand,
  inspect: inspectCommand,
  bench: benchCommand,
  watch: watchCommand,
  doctor: doctorCommand,
};

function overview(): string {
  const width = Math.max(...Object.values(COMMANDS).map(({ usage }) => usage.length));
  const lines = Object.values(COMMANDS).map(({ usage, summary }) => `  ${usage.padEnd(width)}  ${summary}`);
  return ["realizar COMMAND ...", "", ...lines, "", "realizar COMMAND --help tells a command's flags."].join("\n");
}

/** Runs one command line; resolves with the exit status. */
export async function main(argv: string[]): Promise<number> {
  const [name, ...rest] = argv;
  if (name === undefined || name === "--help" || name === "-h" || name === "help") {
    await print(`${overview()}\n`);
    return name === undefined ? 2 : 0;
  }
  const command = COMMANDS[name];
  if (command === undefined) {
    note(`realizar: there is no command ${JSON.stringify(name)}; commands are ${Object.keys(COMMANDS).join(", ")}`);
    return 2;
  }
  try {
    const { args, flags } = parse(command, rest);
    if (flags["help"] === true) {
      await print(`${helpOf(command)}\n`);
      return 0;
    }
    return await command.run(args, flags);
  } catch (error) {
    if (error instanceof UsageError) {
      note(`realizar ${name}: ${error.message}\nusage: realizar ${command.usage}   (--help tells more)`);
      return 2;
    }
    note(`realizar ${name}: ${describe(error)}`);
    return 1;
  }
}

if (import.meta.main) void main(process.argv.slice(2)).then((status) => process.exitCode = status);
