/** Hostile and mistaken requests to the APIs of Anthropic and Ollama, with their status and the field to be named. */
import { NAME } from "./server_support.ts";

export interface DialectCase {
  api: "anthropic" | "ollama";
  path: string;
  /** Beside what a good request has; undefined takes a field away. */
  body: object | string;
  status: number;
  /** The field that the answer must name; undefined = none. */
  field?: string | undefined;
}

const TEXT = [{ role: "user", content: "hello" }];
const tool = { name: "f", input_schema: { type: "object" } };
const use = { type: "tool_use", id: "a", name: "f", input: {} };
const user = (...blocks: unknown[]): object => ({ messages: [{ role: "user", content: blocks }] });
const assistant = (...blocks: unknown[]): object => ({
  messages: [...TEXT, { role: "assistant", content: blocks }, ...TEXT],
});

/** A field of a message request, its wrong value, and the field named if it is another. */
type Wrong = readonly [body: object, field: string];

const ANTHROPIC: readonly Wrong[] = [
  ...[undefined, 0, -1, 1.5, 1e300, "12", true].map((n): Wrong => [{ max_tokens: n }, "max_tokens"]),
  ...[-0.1, 101, "hot"].map((n): Wrong => [{ temperature: n }, "temperature"]),
  ...[1.5, -1].map((n): Wrong => [{ top_p: n }, "top_p"]),
  ...[-1, 1.5].map((n): Wrong => [{ top_k: n }, "top_k"]),
  ...[undefined, "", 5].map((model): Wrong => [{ model }, "model"]),
  ...[undefined, "hi", []].map((messages): Wrong => [{ messages }, "messages"]),
  ...[[null], [5]].map((messages): Wrong => [{ messages }, "messages[0]"]),
  [{ messages: [{ role: "root", content: "x" }] }, "messages[0].role"],
  [{ messages: [{ role: "user" }] }, "messages[0].content"],
  [{ messages: [{ role: "user", content: [] }] }, "messages[0].content"],
  [{ messages: [{ role: "user", content: "x", name: "me" }] }, "messages[0].name"],
  [{ messages: [{ role: "assistant", content: "x" }] }, "messages"],
  [{ messages: [{ role: "system", content: "x" }] }, "messages"],
  [{ messages: [{ role: "system" }, ...TEXT] }, "messages[0].content"],
  [{ messages: [...TEXT, { role: "assistant", content: "so " }] }, "messages"],
  [{ messages: [...TEXT, { role: "assistant", content: [use] }] }, "messages"],
  [{ messages: [{ role: "user", content: "q".repeat(5000) }] }, "messages"],
  [user({ text: "x" }), "messages[0].content[0].type"],
  [user({ type: "text" }), "messages[0].content[0].text"],
  [user({ type: "text", text: "x", citations: [{}] }), "messages[0].content[0].citations"],
  [user({ type: "text", text: "x", cache_control: { type: "forever" } }), "cache_control.type"],
  [user({ type: "text", text: "x", cache_control: { type: "ephemeral", ttl: "2h" } }), "cache_control.ttl"],
  ...["image", "document", "search_result", "tool_use", "thinking", "server_tool_use", "constructor"].map(
    (type): Wrong => [user({ type, source: {} }), "messages[0].content[0].type"],
  ),
  [user({ type: "tool_result", tool_use_id: "a", content: "x" }), "messages[0].content[0].tool_use_id"],
  [user({ type: "tool_result", content: "x" }), "messages[0].content[0].tool_use_id"],
  [assistant({ type: "redacted_thinking", data: "x" }), "messages[1].content[0].type"],
  [assistant({ type: "image" }), "messages[1].content[0].type"],
  [assistant({ type: "thinking" }), "messages[1].content[0].thinking"],
  [assistant({ ...use, input: "{}" }), "messages[1].content[0].input"],
  [assistant({ ...use, input: undefined }), "messages[1].content[0].input"],
  [assistant(use, use), "messages[1].content[1].id"],
  [assistant({ ...use, caller: { type: "code_execution_20250825" } }), "messages[1].content[0].caller"],
  [{ system: 5 }, "system"],
  [{ system: [{ type: "image" }] }, "system[0].type"],
  [{ stop_sequences: [""] }, "stop_sequences"],
  [{ stop_sequences: Array.from({ length: 17 }, (_, i) => `s${i}`) }, "stop_sequences"],
  [{ stream: "yes" }, "stream"],
  [{ metadata: { user_id: 5 } }, "metadata.user_id"],
  [{ metadata: { team: "x" } }, "metadata.team"],
  [{ tools: {} }, "tools"],
  [{ tools: [{}] }, "tools[0].name"],
  [{ tools: [{ ...tool, name: "a b" }] }, "tools[0].name"],
  [{ tools: [{ name: "f" }] }, "tools[0].input_schema"],
  [{ tools: [{ ...tool, input_schema: "x" }] }, "tools[0].input_schema"],
  [{ tools: [tool, tool] }, "tools[1]"],
  [{ tools: [{ type: "web_search_20250305", name: "web_search" }] }, "tools[0].type"],
  [{ tools: [{ type: "bash_20250124", name: "bash" }] }, "tools[0].type"],
  [{ tools: [{ ...tool, defer_loading: true }] }, "tools[0].defer_loading"],
  [{ tools: [{ ...tool, input_examples: [{}] }] }, "tools[0].input_examples"],
  [{ tools: [{ ...tool, extra: 1 }] }, "tools[0].extra"],
  [{ tools: Array.from({ length: 129 }, (_, i) => ({ ...tool, name: `f${i}` })) }, "tools"],
  [{ tool_choice: { type: "any" } }, "tool_choice.type"],
  [{ tool_choice: "auto" }, "tool_choice"],
  [{ tools: [tool], tool_choice: { type: "required" } }, "tool_choice.type"],
  [{ tools: [tool], tool_choice: { type: "tool" } }, "tool_choice.name"],
  [{ tools: [tool], tool_choice: { type: "tool", name: "g" } }, "tool_choice.name"],
  [{ tools: [tool], tool_choice: { type: "auto", disable_parallel_tool_use: 1 } }, "disable_parallel_tool_use"],
  [{ thinking: true }, "thinking"],
  [{ thinking: { type: "enabled" } }, "thinking.budget_tokens"],
  [{ thinking: { type: "enabled", budget_tokens: 100 } }, "thinking.budget_tokens"],
  [{ max_tokens: 1024, thinking: { type: "enabled", budget_tokens: 1024 } }, "thinking.budget_tokens"],
  [{ thinking: { type: "between_tools" } }, "thinking.type"],
  [{ thinking: { type: "adaptive", display: "all" } }, "thinking.display"],
  [{ output_config: { effort: "lots" } }, "output_config.effort"],
  [{ output_config: { effort: "low" } }, "output_config.effort"],
  [{ output_config: { format: { type: "json" } } }, "output_config.format.type"],
  [{ output_config: { format: { type: "json_schema" } } }, "output_config.format.schema"],
  [{ output_config: { format: { type: "json_schema", schema: { type: "odd" } } } }, "output_config.format.schema"],
  [{ tools: [tool, { ...tool, name: "g", input_schema: { type: "object", not: {} } }] }, "tools[1].input_schema"],
  [{ output_config: { task_budget: {} } }, "output_config.task_budget"],
  [{ service_tier: "priority" }, "service_tier"],
  [{ speed: "fast" }, "speed"],
  [{ mcp_servers: [{}] }, "mcp_servers"],
  ...[{}, [], { edits: [{ type: "clear_tool_uses_20250919" }] }, { edits: [null] }, { edits: [{ type: 5 }] }].map(
    (context_management): Wrong => [{ context_management }, "context_management"],
  ),
  ...["container", "context_management", "inference_geo", "thread", "fallbacks", "constructor", "stop", "n"].map(
    (name): Wrong => [{ [name]: "x" }, name],
  ),
];

const chat = (...messages: unknown[]): object => ({ messages });
const toolCall = (fields: object): object => chat(...TEXT, { role: "assistant", tool_calls: [{ function: fields }] });
const options = (name: string, ...values: unknown[]): Wrong[] =>
  values.map((value) => [{ options: { [name]: value } }, `options.${name}`]);

const OLLAMA: readonly Wrong[] = [
  ...[undefined, "", 5].map((model): Wrong => [{ model }, "model"]),
  ...["hi", [null], [5]].map((messages): Wrong => [{ messages }, "messages"]),
  [chat({ role: "root", content: "x" }), "messages[0].role"],
  [chat({ role: "user" }), "messages[0].content"],
  [chat({ role: "user", content: ["x"] }), "messages[0].content"],
  [chat({ role: "user", content: "x", images: ["aGk="] }), "messages[0].images"],
  [chat({ role: "user", content: "x", tool_name: "f" }), "messages[0].tool_name"],
  [chat({ role: "user", content: "x", thinking: "hm" }), "messages[0].thinking"],
  [chat({ role: "user", content: "x", extra: 1 }), "messages[0].extra"],
  [chat({ role: "tool", content: "x" }), "messages[0].role"],
  [chat({ role: "assistant", content: "x" }), "messages"],
  [chat({ role: "user", content: "q".repeat(5000) }), "messages"],
  [toolCall({ arguments: {} }), "messages[1].tool_calls[0].function.name"],
  [toolCall({ name: "f", arguments: "{}" }), "messages[1].tool_calls[0].function.arguments"],
  [toolCall({ name: "f", arguments: {} }), "messages"],
  [{ tools: {} }, "tools"],
  [{ tools: [{ type: "function" }] }, "tools[0].function"],
  [{ tools: [{ type: "web", function: { name: "f" } }] }, "tools[0].type"],
  [{ tools: [{ type: "function", function: { name: "a b" } }] }, "tools[0].function.name"],
  ...[-0.1, 101, "hot"].flatMap((value) => options("temperature", value)),
  ...options("num_predict", 0, -3, 1.5, "5"),
  ...options("num_ctx", 0, 1e6, "4k"),
  ...options("top_p", 2),
  ...options("top_k", -1, 1.5),
  ...options("min_p", 2),
  ...options("typical_p", -1),
  ...options("seed", -1, "lucky"),
  ...options("stop", "", [5]),
  ...options("repeat_penalty", 0),
  ...options("repeat_last_n", -2),
  ...options("presence_penalty", 1000),
  ...options("mirostat", 2),
  ...options("tfs_z", 0.5),
  ...options("num_gpu", 1),
  ...options("num_thread", 4),
  ...options("num_keep", 4),
  ...options("use_mmap", true),
  ...options("temprature", 1),
  ...options("constructor", 1),
  [{ options: [] }, "options"],
  [{ format: { type: "odd" } }, "format"],
  [{ format: { type: "odd" }, stream: false }, "format"],
  [{ tools: [{ type: "function", function: { name: "f", parameters: { type: "object", not: {} } } }] }, "tools[0]"],
  [{ format: "xml" }, "format"],
  [{ format: ["json"] }, "format"],
  [{ think: "hard" }, "think"],
  [{ think: "high" }, "think"],
  [{ think: 1 }, "think"],
  [{ keep_alive: "soon" }, "keep_alive"],
  [{ keep_alive: {} }, "keep_alive"],
  [{ stream: "no" }, "stream"],
  [{ truncate: true }, "truncate"],
  [{ shift: true }, "shift"],
  [{ top_logprobs: 2 }, "top_logprobs"],
  [{ logprobs: true, top_logprobs: 21 }, "top_logprobs"],
  [{ prompt: "x" }, "prompt"],
  [{ max_tokens: 5 }, "max_tokens"],
];

const GENERATE: readonly Wrong[] = [
  [{ suffix: "x" }, "suffix"],
  [{ template: "{{ .Prompt }}" }, "template"],
  [{ context: [1, 2] }, "context"],
  [{ images: ["aGk="] }, "images"],
  [{ raw: true, system: "x" }, "system"],
  [{ raw: true, think: true }, "think"],
  [{ raw: "yes" }, "raw"],
  [{ prompt: 5 }, "prompt"],
  [{ prompt: "", keep_alive: 0 }, "keep_alive"],
  [{ width: 5 }, "width"],
  [{ messages: TEXT }, "messages"],
  [{ prompt: "q".repeat(5000) }, "prompt"],
];

const deep = `{"model":"${NAME}","messages":${"[".repeat(200)}${"]".repeat(200)}}`;
const broken = `{"model": "ti`;
const large = [{ role: "user", content: "x".repeat(5 << 20) }];
const message = { model: NAME, max_tokens: 5, messages: TEXT };

function of(api: DialectCase["api"], path: string, good: object, wrong: readonly Wrong[]): DialectCase[] {
  return wrong.map(([body, field]) => ({ api, path, body: { ...good, ...body }, status: 400, field }));
}

/** All of them. */
export const DIALECT_CASES: readonly DialectCase[] = [
  ...of("anthropic", "/v1/messages", message, ANTHROPIC),
  { api: "anthropic", path: "/v1/messages", body: { ...message, model: "claude" }, status: 404, field: "model" },
  { api: "anthropic", path: "/v1/messages", body: { ...message, messages: large }, status: 413 },
  ...[deep, broken, "[]", ""].map((body): DialectCase => ({
    api: "anthropic",
    path: "/v1/messages",
    body,
    status: 400,
  })),
  { api: "anthropic", path: "/v1/messages/count_tokens", body: message, status: 400, field: "max_tokens" },
  { api: "anthropic", path: "/v1/messages/count_tokens", body: { model: NAME }, status: 400, field: "messages" },
  { api: "anthropic", path: "/v1/messages/batches", body: {}, status: 404 },
  ...of("ollama", "/api/chat", { model: NAME, messages: TEXT }, OLLAMA),
  ...of("ollama", "/api/generate", { model: NAME, prompt: "x" }, GENERATE),
  ...of("ollama", "/api/show", { model: NAME }, [[{ model: undefined }, "model"], [{ system: "x" }, "system"]]),
  ...[deep, broken, "[]", ""].map((body): DialectCase => ({ api: "ollama", path: "/api/chat", body, status: 400 })),
  { api: "ollama", path: "/api/chat", body: { model: "../etc", messages: TEXT }, status: 404, field: "model" },
  { api: "ollama", path: "/api/chat", body: { model: NAME, messages: large }, status: 413 },
  { api: "ollama", path: "/api/pull", body: "anything", status: 501 },
  { api: "ollama", path: "/api/unheard", body: {}, status: 404 },
];
