/** `tools`, `tool_choice` and `parallel_tool_calls` of the Responses API. */
import type { ToolChoice, ToolDefinition } from "../../types.ts";
import { invalid, unsupported } from "../errors.ts";
import { Fields } from "../fields.ts";

const TOOLS_MAX = 128;
const NAME = /^[a-zA-Z0-9_-]{1,64}$/;
const CHOICES = `"none", "auto", "required" or an object`;

/** What a request says of tools. */
export interface WantedTools {
  /** What the model is told of. */
  tools: ToolDefinition[];
  /** What it may call: all of them, unless the choice names some. */
  callable: ToolDefinition[];
  toolChoice: ToolChoice;
  parallelToolCalls: boolean;
  /** `tools` and `tool_choice` as they were given, for the answer. */
  given: { tools: unknown; tool_choice: unknown };
}

function readTool(value: unknown, index: number): ToolDefinition {
  const fields = new Fields(value, `tools[${index}]`);
  const type = fields.required("type", fields.string("type"), `"function"`);
  if (type !== "function") {
    const message = `${fields.param("type")}: got ${
      JSON.stringify(type.slice(0, 40))
    }, this server runs no tools itself`;
    throw unsupported(fields.param("type"), message);
  }
  const name = fields.required("name", fields.string("name"), "a tool's name");
  if (!NAME.test(name)) fields.wrong("name", name, "1 to 64 characters of a-z, A-Z, 0-9, _ and -");
  const description = fields.string("description");
  const schema = fields.object("parameters");
  const kind = schema?.any("type");
  if (kind !== undefined && kind !== "object") schema!.wrong("type", kind, `"object"`);
  fields.boolean("strict"); // arguments follow the schema either way
  fields.neutral("async", (given) => given === false, "false");
  fields.neutral("defer_loading", (given) => given === false, "false");
  const isDirect = (given: unknown): boolean => Array.isArray(given) && given.length === 1 && given[0] === "direct";
  fields.neutral("allowed_callers", isDirect, `["direct"]`);
  fields.refuseRest(["output_schema"]);
  return { name, description, parameters: schema === undefined ? undefined : Object.fromEntries(schema.entries()) };
}

/** The name of a function in a choice; it must be one of the tools. */
function readName(fields: Fields, tools: readonly ToolDefinition[]): string {
  const type = fields.required("type", fields.string("type"), `"function"`);
  if (type !== "function") throw unsupported(fields.param("type"), `${fields.param("type")}: only functions are tools`);
  const name = fields.required("name", fields.string("name"), "a tool's name");
  if (!tools.some((tool) => tool.name === name)) {
    throw invalid(fields.param("name"), `${fields.param("name")}: there is no such tool in tools`);
  }
  fields.refuseRest();
  return name;
}

type Choice = Pick<WantedTools, "callable" | "toolChoice">;

/** Some of the tools: the model is still told of all, so that what is cached of the prompt stays of use. */
function readAllowed(choice: Fields, tools: readonly ToolDefinition[]): Choice {
  const mode = choice.string("mode") ?? "auto";
  if (mode !== "auto" && mode !== "required") choice.wrong("mode", mode, `"auto" or "required"`);
  const list = choice.required("tools", choice.array("tools"), "an array of tools");
  if (list.length === 0) choice.wrong("tools", list, "at least one tool");
  const names = list.map((one, i) => readName(new Fields(one, `${choice.param("tools")}[${i}]`), tools));
  choice.refuseRest();
  return { callable: tools.filter(({ name }) => names.includes(name)), toolChoice: mode };
}

function readChoice(fields: Fields, tools: ToolDefinition[]): Choice {
  const value = fields.any("tool_choice");
  if (value === undefined) return { callable: tools, toolChoice: "auto" };
  if (value === "none" || value === "auto") return { callable: tools, toolChoice: value };
  if (value !== "required" && (typeof value !== "object" || Array.isArray(value))) {
    fields.wrong("tool_choice", value, CHOICES);
  }
  if (tools.length === 0) throw invalid("tool_choice", "tool_choice: there are no tools to be called");
  if (value === "required") return { callable: tools, toolChoice: value };
  const choice = new Fields(value, "tool_choice");
  if (choice.any("type") === "allowed_tools") return readAllowed(choice, tools);
  return { callable: tools, toolChoice: { name: readName(choice, tools) } };
}

/** Reads the three fields. */
export function readTools(fields: Fields): WantedTools {
  const list = fields.array("tools") ?? [];
  if (list.length > TOOLS_MAX) throw invalid("tools", `tools: got ${list.length}, at most ${TOOLS_MAX}`);
  const tools = list.map(readTool);
  const names = tools.map(({ name }) => name);
  const twice = names.findIndex((name, i) => names.indexOf(name) !== i);
  if (twice >= 0) throw invalid(`tools[${twice}].name`, `tools[${twice}].name: two tools have this name`);
  const parallelToolCalls = fields.boolean("parallel_tool_calls") ?? true;
  const choice = readChoice(fields, tools);
  const given = { tools: list, tool_choice: fields.any("tool_choice") ?? "auto" };
  return { tools, ...choice, parallelToolCalls, given };
}
