/** Hostile and mistaken requests to /v1/responses, with the status they must get and the field that must be named. */
import { assert, assertEquals } from "@std/assert";
import { HELLO, MODEL, served } from "./responses_support.ts";
import { ask } from "./server_support.ts";
import { leakCheck, test } from "./support.ts";

const UNSUPPORTED = "unsupported_parameter", UNKNOWN = "unknown_parameter", MISSING = "missing_required_parameter";
const FUNCTION = { type: "function", name: "f", parameters: {} };

/** Fields beside a model and a good input; the parameter that is named, by default the first field's name. */
type Case = readonly [fields: Record<string, unknown>, param?: string, code?: string];

const FIELDS: readonly Case[] = [
  [{ max_output_tokens: 0 }],
  [{ max_output_tokens: "9" }],
  [{ max_output_tokens: 1.5 }],
  [{ temperature: -1 }],
  [{ temperature: "hot" }],
  [{ top_p: 2 }],
  [{ stream: "yes" }],
  [{ stream: true, stream_options: { include_obfuscation: true } }, "stream_options.include_obfuscation", UNSUPPORTED],
  [{ stream_options: {} }],
  [{ instructions: 5 }],
  [{ instructions: ["be"] }],
  [{ metadata: { a: 1 } }],
  [{ metadata: "x" }],
  [{ user: 5 }],
  [{ safety_identifier: {} }],
  [{ store: true }, "store", UNSUPPORTED],
  [{ store: "no" }, "store", UNSUPPORTED],
  [{ previous_response_id: "resp_1" }, "previous_response_id", UNSUPPORTED],
  [{ conversation: "conv_1" }, "conversation", UNSUPPORTED],
  [{ prompt: { id: "pmpt_1" } }, "prompt", UNSUPPORTED],
  [{ background: true }, "background", UNSUPPORTED],
  [{ truncation: "auto" }, "truncation", UNSUPPORTED],
  [{ service_tier: "flex" }, "service_tier", UNSUPPORTED],
  [{ prompt_cache_retention: "24h" }, "prompt_cache_retention", UNSUPPORTED],
  [{ prompt_cache_options: {} }, "prompt_cache_options", UNSUPPORTED],
  [{ prompt_cache_key: 5 }],
  [{ prompt_cache_key: "k".repeat(257) }],
  [{ context_management: [] }, "context_management", UNSUPPORTED],
  [{ moderation: {} }, "moderation", UNSUPPORTED],
  [{ access_programs: {} }, "access_programs", UNSUPPORTED],
  [{ max_tool_calls: 0 }],
  [{ top_logprobs: 21 }],
  [{ top_logprobs: 5 }],
  [{ include: "all" }],
  [{ include: ["reasoning.encrypted_content"] }, "include[0]", UNSUPPORTED],
  [{ include: ["message.output_text.logprobs", 5] }, "include[1]", UNSUPPORTED],
  [{ n: 2 }, "n", UNSUPPORTED],
  [{ messages: [] }, "messages", UNKNOWN],
  [{ max_tokens: 5 }, "max_tokens", UNKNOWN],
  [{ response_format: { type: "json_object" } }, "response_format", UNKNOWN],
  [{ constructor: 1 }, "constructor", UNKNOWN],
  [{ text: "plain" }],
  [{ text: { format: "json" } }, "text.format"],
  [{ text: { format: {} } }, "text.format.type", MISSING],
  [{ text: { format: { type: "xml" } } }, "text.format.type"],
  [{ text: { format: { type: "json_schema" } } }, "text.format.name", MISSING],
  [{ text: { format: { type: "json_schema", name: "n" } } }, "text.format.schema", MISSING],
  [{ text: { format: { type: "json_schema", name: "n", schema: [] } } }, "text.format.schema"],
  [{ text: { format: { type: "text", schema: {} } } }, "text.format.schema", UNKNOWN],
  [{ text: { verbosity: "high" } }, "text.verbosity", UNSUPPORTED],
  [{ text: { style: 1 } }, "text.style", UNKNOWN],
  [{ reasoning: "high" }],
  [{ reasoning: { effort: "extreme" } }, "reasoning.effort"],
  [{ reasoning: { effort: "low" } }, "reasoning.effort", UNSUPPORTED],
  [{ reasoning: { summary: "auto" } }, "reasoning.summary", UNSUPPORTED],
  [{ reasoning: { generate_summary: "auto" } }, "reasoning.generate_summary", UNSUPPORTED],
  [{ reasoning: { depth: 1 } }, "reasoning.depth", UNKNOWN],
  [{ tools: {} }],
  [{ tools: [5] }, "tools[0]"],
  [{ tools: [{}] }, "tools[0].type", MISSING],
  [{ tools: [{ type: "web_search" }] }, "tools[0].type", UNSUPPORTED],
  [{ tools: [{ type: "mcp", server_url: "http://x" }] }, "tools[0].type", UNSUPPORTED],
  [{ tools: [{ type: "function" }] }, "tools[0].name", MISSING],
  [{ tools: [{ type: "function", name: "a b" }] }, "tools[0].name"],
  [{ tools: [{ type: "function", name: "x".repeat(65) }] }, "tools[0].name"],
  [{ tools: [{ type: "function", function: { name: "f" } }] }, "tools[0].name", MISSING],
  [{ tools: [{ ...FUNCTION, parameters: "{}" }] }, "tools[0].parameters"],
  [{ tools: [{ ...FUNCTION, parameters: { type: "string" } }] }, "tools[0].parameters.type"],
  [{ tools: [{ ...FUNCTION, strict: "yes" }] }, "tools[0].strict"],
  [{ tools: [{ ...FUNCTION, async: true }] }, "tools[0].async", UNSUPPORTED],
  [{ tools: [{ ...FUNCTION, defer_loading: true }] }, "tools[0].defer_loading", UNSUPPORTED],
  [{ tools: [{ ...FUNCTION, output_schema: {} }] }, "tools[0].output_schema", UNSUPPORTED],
  [{ tools: [FUNCTION, FUNCTION] }, "tools[1].name"],
  [{ tools: Array.from({ length: 129 }, (_, i) => ({ ...FUNCTION, name: `f${i}` })) }],
  [{ tool_choice: "required" }],
  [{ tool_choice: "always" }],
  [{ tool_choice: ["auto"] }],
  [{ tool_choice: { type: "function", name: "f" } }],
  [{ tools: [FUNCTION], tool_choice: { type: "function", name: "g" } }, "tool_choice.name"],
  [{ tools: [FUNCTION], tool_choice: { type: "function" } }, "tool_choice.name", MISSING],
  [{ tools: [FUNCTION], tool_choice: { type: "web_search" } }, "tool_choice.type", UNSUPPORTED],
  [{ tools: [FUNCTION], tool_choice: { type: "allowed_tools", mode: "auto" } }, "tool_choice.tools", MISSING],
  [{ tools: [FUNCTION], tool_choice: { type: "allowed_tools", tools: [] } }, "tool_choice.tools"],
  [
    { tools: [FUNCTION], tool_choice: { type: "allowed_tools", tools: [{ type: "function", name: "g" }] } },
    "tool_choice.tools[0].name",
  ],
  [{ parallel_tool_calls: 1 }],
];

const CALL = { type: "function_call", call_id: "c", name: "f", arguments: "{}" };

/** Inputs, and where in them the mistake is. */
const INPUTS: readonly (readonly [input: unknown, param: string, code?: string])[] = [
  [undefined, "input", MISSING],
  [null, "input", MISSING],
  [5, "input"],
  [{}, "input"],
  [[], "input"],
  [["hi"], "input[0]"],
  [[null], "input[0]"],
  [[{ content: "x" }], "input[0].role", MISSING],
  [[{ role: "root", content: "x" }], "input[0].role"],
  [[{ role: "constructor", content: "x" }], "input[0].role"],
  [[{ role: "tool", content: "x" }], "input[0].role"],
  [[{ role: "user" }], "input[0].content", MISSING],
  [[{ role: "user", content: 5 }], "input[0].content"],
  [[{ role: "user", content: ["x"] }], "input[0].content[0]"],
  [[{ role: "user", content: [{ type: "text", text: "x" }] }], "input[0].content[0].type", UNSUPPORTED],
  [[{ role: "user", content: [{ type: "output_text", text: "x" }] }], "input[0].content[0].type", UNSUPPORTED],
  [[{ role: "user", content: [{ type: "input_text" }] }], "input[0].content[0].text", MISSING],
  [
    [{ role: "user", content: [{ type: "input_image", image_url: "http://x/" }] }],
    "input[0].content[0].type",
    UNSUPPORTED,
  ],
  [[{ role: "user", content: [{ type: "input_file", file_id: "f" }] }], "input[0].content[0].type", UNSUPPORTED],
  [[{ role: "assistant", content: [{ type: "refusal", refusal: "no" }] }], "input[0].content[0].type", UNSUPPORTED],
  [
    [{ role: "assistant", content: [{ type: "output_text", text: "a", annotations: [{ type: "url_citation" }] }] }],
    "input[0].content[0].annotations",
    UNSUPPORTED,
  ],
  [[{ role: "user", content: "x", extra: 1 }], "input[0].extra", UNKNOWN],
  [[{ role: "user", content: "x", phase: "commentary" }], "input[0].phase", UNSUPPORTED],
  [[{ type: "item_reference", id: "msg_1" }], "input[0].type", UNSUPPORTED],
  [[{ type: "web_search_call", id: "1" }], "input[0].type", UNSUPPORTED],
  [[{ type: "computer_call_output" }], "input[0].type", UNSUPPORTED],
  [[{ type: 5 }], "input[0].type"],
  [[{ ...CALL, call_id: undefined }], "input[0].call_id", MISSING],
  [[{ ...CALL, name: undefined }], "input[0].name", MISSING],
  [[{ ...CALL, arguments: {} }], "input[0].arguments"],
  [[{ ...CALL, arguments: "{" }], "input[0].arguments"],
  [[{ ...CALL, arguments: "[1]" }], "input[0].arguments"],
  [[CALL, CALL], "input[1].call_id"],
  [[{ type: "function_call_output", call_id: "c", output: "x" }], "input[0].call_id"],
  [[CALL, { type: "function_call_output", call_id: "c" }], "input[1].output", MISSING],
  [[CALL, { type: "function_call_output", call_id: "c", output: { a: 1 } }], "input[1].output"],
  [
    [CALL, { type: "function_call_output", call_id: "c", output: [{ type: "input_image" }] }],
    "input[1].output[0].type",
    UNSUPPORTED,
  ],
  [[CALL, { type: "function_call_output", call_id: "c", output: "x", name: "g" }], "input[1].name"],
  [[{ type: "reasoning", summary: "x" }], "input[0].summary"],
  [[{ type: "reasoning", summary: [{ type: "text", text: "x" }] }], "input[0].summary[0].type", UNSUPPORTED],
  [[{ type: "reasoning", summary: [], encrypted_content: "abc" }], "input[0].encrypted_content", UNSUPPORTED],
  ["q".repeat(5000), "input", "context_length_exceeded"],
];

interface Hostile {
  name: string;
  body: unknown;
  status: number;
  param: string | null | undefined;
  code: string | undefined;
}

const shown = (value: unknown): string => (JSON.stringify(value) ?? "undefined").slice(0, 60);

const HOSTILE: readonly Hostile[] = [
  ...FIELDS.map(([fields, param, code]): Hostile => ({
    name: shown(fields),
    body: { model: MODEL, input: "hi", ...fields },
    status: 400,
    param: param ?? Object.keys(fields).at(-1),
    code,
  })),
  ...INPUTS.map(([input, param, code]): Hostile => ({
    name: `input ${shown(input)}`,
    body: { model: MODEL, input },
    status: 400,
    param,
    code,
  })),
  { name: "no model", body: { input: "hi" }, status: 400, param: "model", code: MISSING },
  { name: "an unknown model", body: { model: "gpt-5", input: "hi" }, status: 404, param: "model", code: undefined },
  { name: "a path", body: { model: "../mine", input: "hi" }, status: 404, param: "model", code: undefined },
  { name: "an array", body: [], status: 400, param: "body", code: undefined },
  { name: "no JSON", body: "{", status: 400, param: "body", code: "invalid_json" },
  {
    name: "an input above 4 MiB",
    body: { model: MODEL, input: "é".repeat(3 << 20) },
    status: 413,
    param: null,
    code: "request_too_large",
  },
  {
    name: "arguments above 4 MiB",
    body: { model: MODEL, input: [{ ...CALL, arguments: JSON.stringify({ a: "x".repeat(5 << 20) }) }] },
    status: 413,
    param: null,
    code: "request_too_large",
  },
];

test("responses: every hostile request gets its status, and the field's name in the API's own shape", async () => {
  const { handler, model } = served(HELLO);
  assert(HOSTILE.length >= 120, `${HOSTILE.length} cases`);
  const wrong: string[] = [];
  for (const { name, body, status, param, code } of HOSTILE) {
    const answer = await ask(handler, "/v1/responses", body);
    const error = answer.json?.error;
    const told = `${name}: ${answer.status} ${JSON.stringify(error)?.slice(0, 300)}`;
    if (answer.status !== status || Object.keys(error ?? {}).join() !== "message,type,param,code") wrong.push(told);
    else if (error.param !== param || (code !== undefined && error.code !== code)) wrong.push(told);
    else if (error.message.length > 600) wrong.push(`${name}: a message of ${error.message.length} characters`);
    if (answer.headers.get("x-should-retry") !== "false") wrong.push(`${name}: a client would try again`);
  }
  assertEquals(wrong, []);
  assertEquals(model.asked, [], "nothing of it came to the model");
  assertEquals((await ask(handler, "/v1/responses", { model: MODEL, input: "hi" })).status, 200);
});

leakCheck();
