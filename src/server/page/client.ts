/** How the page asks the server, as JavaScript for the browser: models, streams of answers, figures. */
export const CLIENT_SCRIPT: string = String.raw`
/** Headers of every request; the key stays in this tab. */
function headersOf(settings) {
  const headers = { "content-type": "application/json" };
  if (settings.apiKey) headers.authorization = "Bearer " + settings.apiKey;
  return headers;
}

async function failureOf(response) {
  const text = await response.text();
  try {
    return new Error(JSON.parse(text).error.message);
  } catch {
    return new Error("the server answered " + response.status);
  }
}

async function listModels(settings) {
  const response = await fetch("v1/models", { headers: headersOf(settings) });
  if (!response.ok) throw Object.assign(await failureOf(response), { status: response.status });
  return (await response.json()).data;
}

/** Numbers of the metrics' text: the first series of each name that is the model's, or nobody's. */
function metricOf(text, name, model) {
  for (const line of text.split("\n")) {
    if (!line.startsWith(name)) continue;
    const labels = line.slice(name.length, line.lastIndexOf(" "));
    if (labels !== "" && !labels.includes("model_name=" + JSON.stringify(model))) continue;
    return Number(line.slice(line.lastIndexOf(" ") + 1));
  }
  return undefined;
}

async function readFigures(settings, model) {
  const response = await fetch("metrics", { headers: headersOf(settings) });
  if (!response.ok) return {};
  const text = await response.text();
  return {
    kv: metricOf(text, "vllm:kv_cache_usage_perc", model),
    running: metricOf(text, "vllm:num_requests_running", model),
    waiting: metricOf(text, "vllm:num_requests_waiting", model),
  };
}

/** The data of server-sent events, as they come; ends with [DONE] or the stream. */
async function* eventsOf(body) {
  const reader = body.getReader(), decoder = new TextDecoder();
  let text = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      text += decoder.decode(value, { stream: true });
      const blocks = text.split("\n\n");
      text = blocks.pop();
      for (const block of blocks) {
        if (!block.startsWith("data: ")) continue;
        if (block === "data: [DONE]") return;
        yield JSON.parse(block.slice(6));
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

const NUMBERS = ["temperature", "top_p", "top_k", "min_p", "max_tokens", "seed"];

function requestOf(settings, model, messages) {
  const system = settings.system.trim() === "" ? [] : [{ role: "system", content: settings.system }];
  const turns = messages.filter(({ content }) => content !== "").map(({ role, content }) => ({ role, content }));
  const body = { model, messages: [...system, ...turns], stream: true, stream_options: { include_usage: true } };
  for (const name of NUMBERS) {
    if (settings[name] !== "" && settings[name] !== undefined) body[name] = Number(settings[name]);
  }
  return body;
}

/** Streams an answer into a message; calls onNews after each piece. */
async function streamAnswer(settings, model, messages, answer, signal, onNews) {
  const startedAt = performance.now();
  const response = await fetch("v1/chat/completions", {
    method: "POST", headers: headersOf(settings), signal, body: JSON.stringify(requestOf(settings, model, messages)),
  });
  if (!response.ok) throw Object.assign(await failureOf(response), { status: response.status });
  let firstAt = 0;
  for await (const event of eventsOf(response.body)) {
    if (event.error) throw new Error(event.error.message);
    const now = performance.now();
    const choice = event.choices[0], delta = choice ? choice.delta : {};
    const reasoning = delta.reasoning_content || delta.reasoning || "";
    if (delta.content || reasoning) {
      if (firstAt === 0) firstAt = now;
      answer.content += delta.content || "";
      answer.reasoning += reasoning;
      answer.nTokens++;
    }
    if (choice && choice.finish_reason) answer.finish = choice.finish_reason;
    if (event.usage) {
      answer.nTokens = event.usage.completion_tokens;
      answer.nContext = event.usage.total_tokens;
    }
    if (firstAt > 0) {
      answer.waitMs = firstAt - startedAt;
      if (answer.nTokens > 1 && !event.usage) answer.perSecond = (answer.nTokens - 1) * 1000 / (now - firstAt);
    }
    onNews();
  }
}
`;
