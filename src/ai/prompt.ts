/** The AI SDK's prompts as conversations of this library. What a model of text can't be given is refused by place. */
import type { LanguageModelV4Message, LanguageModelV4Prompt, LanguageModelV4ToolResultPart } from "@ai-sdk/provider";
import { RealizarError } from "../errors.ts";
import type { ChatMessage, ToolCall } from "../types.ts";

type AssistantContent = Extract<LanguageModelV4Message, { role: "assistant" }>["content"];
type ToolContent = Extract<LanguageModelV4Message, { role: "tool" }>["content"];
type UserContent = Extract<LanguageModelV4Message, { role: "user" }>["content"];
type ToolOutput = LanguageModelV4ToolResultPart["output"];

function refuse(where: string, what: string): never {
  throw new RealizarError("UNSUPPORTED", `${where}: ${what} can't be given to a model of this provider`);
}

function jsonOf(value: unknown): string {
  return JSON.stringify(value) ?? "null";
}

function userText(content: UserContent, where: string): string {
  return content.map((part, i) => {
    if (part.type === "text") return part.text;
    if (part.data.type === "text") return part.data.text;
    return refuse(`${where}.content[${i}]`, `a file of type ${part.mediaType}`);
  }).join("\n");
}

function outputText(output: ToolOutput, where: string): string {
  switch (output.type) {
    case "text":
    case "error-text":
      return output.value;
    case "json":
    case "error-json":
      return jsonOf(output.value);
    case "execution-denied":
      return output.reason ?? "The tool was not allowed to run.";
    case "content":
      return output.value.map((part, i) => {
        if (part.type === "text") return part.text;
        if (part.type === "file" && part.data.type === "text") return part.data.text;
        return refuse(`${where}.output.value[${i}]`, `a part of type ${part.type}`);
      }).join("\n");
  }
}

function assistantMessage(content: AssistantContent, where: string): ChatMessage {
  const texts: string[] = [], thoughts: string[] = [];
  const toolCalls: ToolCall[] = [];
  for (const [i, part] of content.entries()) {
    if (part.type === "text") texts.push(part.text);
    else if (part.type === "reasoning") thoughts.push(part.text);
    else if (part.type === "tool-call" && part.providerExecuted !== true) {
      // A string is an object's JSON text already: what a model wrote that did not parse comes back so.
      const json = typeof part.input === "string" ? part.input : jsonOf(part.input);
      toolCalls.push({ id: part.toolCallId, name: part.toolName, arguments: json });
    } else refuse(`${where}.content[${i}]`, `a part of type ${part.type}`);
  }
  return {
    role: "assistant",
    content: texts.join("\n"),
    ...(thoughts.length === 0 ? {} : { reasoning: thoughts.join("\n") }),
    ...(toolCalls.length === 0 ? {} : { toolCalls }),
  };
}

function toolMessages(content: ToolContent, where: string): ChatMessage[] {
  return content.map((part, i) => {
    const at = `${where}.content[${i}]`;
    if (part.type !== "tool-result") return refuse(at, `a part of type ${part.type}`);
    return {
      role: "tool",
      name: part.toolName,
      toolCallId: part.toolCallId,
      content: outputText(part.output, at),
    };
  });
}

/** The conversation of a prompt. Throws `UNSUPPORTED` for images, files and what other providers executed. */
export function messagesOf(prompt: LanguageModelV4Prompt): ChatMessage[] {
  return prompt.flatMap((message, i): ChatMessage | ChatMessage[] => {
    const where = `prompt[${i}]`;
    switch (message.role) {
      case "system":
        return { role: "system", content: message.content };
      case "user":
        return { role: "user", content: userText(message.content, where) };
      case "assistant":
        return assistantMessage(message.content, where);
      case "tool":
        return toolMessages(message.content, where);
    }
  });
}
