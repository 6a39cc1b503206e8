/** `realizar chat`: a conversation on a terminal. */
import { createInterface } from "node:readline/promises";
import { type Command, describe, type Flags, HELP_FLAG, note, print, textFlag } from "./command.ts";
import { loadModel, PLACEMENT_FLAGS, placementOf, SAMPLING_FLAGS, samplingOf } from "./model_flags.ts";
import { speedLine } from "./run.ts";

async function chat([path]: string[], flags: Flags): Promise<number> {
  await using model = await loadModel(path!, placementOf(flags));
  const conversation = model.chat({ ...samplingOf(flags), system: textFlag(flags, "system") });
  const terminal = createInterface({ input: process.stdin, output: process.stderr, prompt: "> " });
  note("Empty line or Ctrl-D ends the conversation, Ctrl-C stops an answer.");
  let stop = new AbortController();
  terminal.on("SIGINT", () => stop.abort());
  // A pipe may be at its end before its lines are answered: then there is nobody to prompt.
  let isOpen = true;
  terminal.on("close", () => isOpen = false);
  terminal.prompt();
  for await (const line of terminal) {
    if (line.trim() === "") break;
    stop = new AbortController();
    const answer = conversation.send(line, { signal: stop.signal });
    try {
      for await (const part of answer) await print(part.text);
      await print("\n");
      note(speedLine(await answer.result()));
    } catch (error) {
      note(`realizar: ${describe(error)}`);
    }
    if (isOpen) terminal.prompt();
  }
  terminal.close();
  return 0;
}

export const chatCommand: Command = {
  usage: "chat MODEL",
  summary: "A conversation; history is kept, and what was computed is not computed again.",
  nArguments: 1,
  flags: {
    system: { type: "string", value: "TEXT", help: "a system message" },
    ...SAMPLING_FLAGS,
    ...PLACEMENT_FLAGS,
    help: HELP_FLAG,
  },
  run: chat,
};
