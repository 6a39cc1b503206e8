/**
 * A model calls a tool and answers with its result; docs/tools.md tells more.
 *
 *     bun examples/tools.ts MODEL.gguf
 */
import process from "node:process";
import { Model, type ToolDefinition } from "../src/mod.ts";

const [path] = process.argv.slice(2);
if (path === undefined) throw new Error("usage: tools.ts MODEL.gguf");

const weather: ToolDefinition = {
  name: "get_weather",
  description: "The weather of a city now.",
  parameters: {
    type: "object",
    properties: { city: { type: "string", maxLength: 30 } },
    required: ["city"],
    additionalProperties: false,
  },
};
const run = (city: string): string => JSON.stringify({ city, sky: "rain", degrees: 12 });

await using model = await Model.load(path, { maxSequences: 1 });
const chat = model.chat({ tools: [weather], temperature: 0, maxTokens: 100 });

// A small model may not think of the tool by itself: the first answer has to call it.
const first = chat.send("Do I need an umbrella in Ulm?", { toolChoice: { name: "get_weather" } });
for await (const { answer = [] } of first) {
  for (const part of answer) {
    if (part.kind === "toolCall") process.stdout.write(`${part.name} `);
    if (part.kind === "toolArguments") process.stdout.write(part.json);
  }
}
console.log();

const { answer } = await first.result();
const results = answer!.toolCalls.map((call) => ({
  role: "tool",
  toolCallId: call.id,
  content: run((JSON.parse(call.arguments) as { city: string }).city),
}));
for await (const part of chat.send(results, { toolChoice: "none" })) process.stdout.write(part.text);
console.log();
