/** `tools` and `tool_choice` of Anthropic's API. */
import type { ToolChoice, ToolDefinition } from "../../types.ts";
import { invalid, unsupported } from "../errors.ts";
import { Fields } from "../fields.ts";
import { readList, readName, readSchema } from "../openai/tools.ts";
import { readCacheControl } from "./cache_control.ts";

/** What a request says of tools. */
export interface WantedTools {
  tools: ToolDefinition[];
  toolChoice: ToolChoice | undefined;
  parallelToolCalls: boolean;
}

function readTool(value: unknown, index: number): ToolDefinition {
  const fields = new Fields(value, `tools[${index}]`);
  const type = fields.string("type");
  if (type !== undefined && type !== "custom") {
    const message = `${fields.param("type")}: got ${
      JSON.stringify(type.slice(0, 40))
    }, this server has no tools itself`;
    throw unsupported(fields.param("type"), message);
  }
  const name = readName(fields);
  const description = fields.string("description");
  const parameters = fields.required("input_schema", readSchema(fields, "input_schema"), "a JSON schema");
  readCacheControl(fields);
  fields.boolean("strict"); // arguments follow the schema either way
  fields.boolean("eager_input_streaming"); // they are sent as they come either way
  fields.neutral("defer_loading", (given) => given === false, "false");
  const isDirect = (given: unknown): boolean => Array.isArray(given) && given.length === 1 && given[0] === "direct";
  fields.neutral("allowed_callers", isDirect, `["direct"]`);
  fields.neutral("input_examples", (given) => Array.isArray(given) && given.length === 0, "an empty array");
  fields.refuseRest();
  return { name, description, parameters };
}

function readChoice(choice: Fields, tools: readonly ToolDefinition[]): ToolChoice {
  const type = choice.required("type", choice.string("type"), `"auto", "any", "tool" or "none"`);
  if (type === "auto" || type === "none") return type;
  if (type !== "any" && type !== "tool") choice.wrong("type", type, `"auto", "any", "tool" or "none"`);
  if (tools.length === 0) {
    throw invalid(choice.param("type"), `${choice.param("type")}: there are no tools to be called`);
  }
  if (type === "any") return "required";
  const name = choice.required("name", choice.string("name"), "a tool's name");
  if (!tools.some((tool) => tool.name === name)) choice.wrong("name", name, "the name of one of the tools");
  return { name };
}

/** Reads both fields. */
export function readTools(fields: Fields): WantedTools {
  const tools = readList(fields, "tools", readTool);
  const choice = fields.object("tool_choice");
  if (choice === undefined) return { tools, toolChoice: undefined, parallelToolCalls: true };
  const toolChoice = readChoice(choice, tools);
  const parallelToolCalls = !(choice.boolean("disable_parallel_tool_use") ?? false);
  choice.refuseRest();
  return { tools, toolChoice, parallelToolCalls };
}
