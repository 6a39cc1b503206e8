/** `tools`, `tool_choice`, `parallel_tool_calls` of chat completions, and their elders `functions`, `function_call`. */
import type { GenerateOptions, ToolChoice, ToolDefinition } from "../../types.ts";
import { invalid, unsupported } from "../errors.ts";
import { Fields } from "../fields.ts";

const TOOLS_MAX = 128;
const NAME = /^[a-zA-Z0-9_-]{1,64}$/;

/** What a request says of tools. */
export interface WantedTools {
  /** What the model is told of; none where it must not call any. */
  tools: readonly ToolDefinition[];
  /** For the generation; empty without tools. */
  options: Pick<GenerateOptions, "tools" | "toolChoice" | "parallelToolCalls">;
  /** The request speaks of functions, and so does the answer. */
  isLegacy: boolean;
}

/** A tool's name. */
export function readName(fields: Fields): string {
  const name = fields.required("name", fields.string("name"), "a tool's name");
  if (!NAME.test(name)) {
    throw invalid(fields.param("name"), `${fields.param("name")}: expected 1 to 64 letters, digits, _ and -`);
  }
  return name;
}

/** A JSON schema in a field: an object of any content. */
export function readSchema(fields: Fields, name: string): Record<string, unknown> | undefined {
  const schema = fields.object(name);
  return schema === undefined ? undefined : Object.fromEntries(schema.entries());
}

function readFunction(fields: Fields): ToolDefinition {
  const name = readName(fields);
  const description = fields.string("description");
  const parameters = readSchema(fields, "parameters");
  fields.boolean("strict"); // arguments follow the schema either way
  fields.refuseRest();
  const type = parameters?.["type"];
  if (type !== undefined && type !== "object") {
    const param = `${fields.param("parameters")}.type`;
    throw invalid(param, `${param}: the arguments of a tool are an object`);
  }
  return { name, description, parameters };
}

function readTool(value: unknown, index: number): ToolDefinition {
  const fields = new Fields(value, `tools[${index}]`);
  readFunctionType(fields);
  const tool = readFunction(fields.required("function", fields.object("function"), "an object"));
  fields.refuseRest();
  return tool;
}

/** `type`: functions are the only tools. */
export function readFunctionType(fields: Fields): void {
  const type = fields.required("type", fields.string("type"), `"function"`);
  if (type !== "function") throw unsupported(fields.param("type"), `${fields.param("type")}: only functions are tools`);
}

/** The tools in a field, each with a name of its own. */
export function readList(
  fields: Fields,
  param: string,
  read: (value: unknown, index: number) => ToolDefinition,
): ToolDefinition[] {
  const list = fields.array(param) ?? [];
  if (list.length > TOOLS_MAX) throw invalid(param, `${param}: got ${list.length}, at most ${TOOLS_MAX}`);
  const tools = list.map(read);
  const names = tools.map(({ name }) => name);
  const twice = names.findIndex((name, i) => names.indexOf(name) !== i);
  if (twice >= 0) throw invalid(`${param}[${twice}]`, `${param}[${twice}]: two of them have the same name`);
  return tools;
}

function namedIn(tools: readonly ToolDefinition[], fields: Fields): string {
  const name = readName(fields);
  fields.refuseRest();
  if (tools.some((tool) => tool.name === name)) return name;
  throw invalid(fields.param("name"), `${fields.param("name")}: there is no such tool in the request`);
}

type Choice = { tools: readonly ToolDefinition[]; choice: ToolChoice };

/** Some of the tools: the model is told of all, so that what is cached of the prompt stays of use. */
function readAllowed(choice: Fields, tools: readonly ToolDefinition[]): Choice {
  const allowed: Fields = choice.required("allowed_tools", choice.object("allowed_tools"), "an object");
  const mode = allowed.required("mode", allowed.string("mode"), `"auto" or "required"`);
  if (mode !== "auto" && mode !== "required") allowed.wrong("mode", mode, `"auto" or "required"`);
  const list = allowed.required("tools", allowed.array("tools"), "an array of tools");
  if (list.length === 0) allowed.wrong("tools", list, "at least one tool");
  const names = list.map((one, i) => readNamed(new Fields(one, `${allowed.param("tools")}[${i}]`), tools));
  allowed.refuseRest();
  choice.refuseRest();
  return { tools: tools.filter(({ name }) => names.includes(name)), choice: mode };
}

/** `{ type: "function", function: { name } }`. */
function readNamed(fields: Fields, tools: readonly ToolDefinition[]): string {
  readFunctionType(fields);
  const name = namedIn(tools, fields.required("function", fields.object("function"), "an object"));
  fields.refuseRest();
  return name;
}

function readChoice(fields: Fields, param: string, tools: readonly ToolDefinition[], isLegacy: boolean): Choice {
  const value = fields.any(param);
  if (value === undefined || value === "auto") return { tools, choice: "auto" };
  if (value === "none") return { tools, choice: "none" };
  const isObject = typeof value === "object" && !Array.isArray(value);
  if (!isObject && (isLegacy || value !== "required")) {
    fields.wrong(param, value, `"none", "auto"${isLegacy ? "" : `, "required"`} or an object with a name`);
  }
  if (tools.length === 0) throw invalid(param, `${param}: there is nothing to be called`);
  if (value === "required") return { tools, choice: value };
  const choice = new Fields(value, param);
  if (isLegacy) return { tools, choice: { name: namedIn(tools, choice) } };
  if (choice.any("type") === "allowed_tools") return readAllowed(choice, tools);
  return { tools, choice: { name: readNamed(choice, tools) } };
}

/** Reads all of it. */
export function readTools(fields: Fields): WantedTools {
  const isLegacy = fields.any("functions") !== undefined;
  if (isLegacy && fields.any("tools") !== undefined) throw invalid("functions", "functions: not together with tools");
  const parallel = fields.boolean("parallel_tool_calls");
  const all = isLegacy
    ? readList(fields, "functions", (one, i) => readFunction(new Fields(one, `functions[${i}]`)))
    : readList(fields, "tools", readTool);
  const { tools, choice } = readChoice(fields, isLegacy ? "function_call" : "tool_choice", all, isLegacy);
  if (tools.length === 0 || choice === "none") return { tools: [], options: {}, isLegacy };
  const parallelToolCalls = isLegacy ? false : parallel ?? true;
  return { tools: all, options: { tools, toolChoice: choice, parallelToolCalls }, isLegacy };
}
