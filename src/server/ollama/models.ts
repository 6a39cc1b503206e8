/** GET /api/tags, /api/ps and /api/version, POST /api/show: what is served, in Ollama's words. */
import { effortValues } from "../../api/reasoning.ts";
import { RealizarError } from "../../errors.ts";
import type { ChatMessage, ModelInfo, ToolDefinition } from "../../types.ts";
import { jsonResponse } from "../errors.ts";
import { Fields } from "../fields.ts";
import type { RouteContext } from "../route.ts";
import type { Service } from "../service.ts";
import type { NamedModel, ServedModel } from "../served_model.ts";
import { VERSION } from "../version.ts";
import { ollamaModelOf } from "./options.ts";

/** Models stay loaded as long as the server runs. */
const NEVER = "9999-12-31T23:59:59Z";
const PROBE: readonly ChatMessage[] = [{ role: "user", content: "hi" }];
const PROBE_TOOL: ToolDefinition = { name: "probe", description: "probe", parameters: { type: "object" } };

function sizeText(nParameters: number): string {
  const [unit, letter] = nParameters >= 1e9 ? [1e9, "B"] as const : [1e6, "M"] as const;
  return `${(nParameters / unit).toFixed(nParameters >= 1e11 ? 0 : 1)}${letter}`;
}

/** The type that most of the weights' bytes have. */
function mainDtype({ dtypes }: ModelInfo): string {
  return Object.entries(dtypes).reduce((most, one) => one[1] > most[1] ? one : most, ["", 0])[0];
}

function detailsOf(info: ModelInfo): Record<string, unknown> {
  return {
    parent_model: "",
    format: "gguf",
    family: info.architecture,
    families: [info.architecture],
    parameter_size: sizeText(info.nParameters),
    quantization_level: mainDtype(info),
  };
}

function timeOf(service: Service): string {
  return new Date(service.createdAt * 1000).toISOString();
}

function entryOf({ name, model }: NamedModel): Record<string, unknown> {
  // Files are not hashed: there is no digest to be told.
  return { name, model: name, size: model.info.fileBytes, digest: "", details: detailsOf(model.info) };
}

/** Lists what is served. */
export function tags({ service }: RouteContext): Response {
  const models = service.models().map((named) => ({ ...entryOf(named), modified_at: timeOf(service) }));
  return jsonResponse({ models });
}

/** Lists what is loaded: the same, with what it takes. */
export function ps({ service }: RouteContext): Response {
  const models = service.models().map((named) => {
    const { weightsBytes, kvBytes, scratchBytes, contextSize } = named.model.info;
    const size = weightsBytes + kvBytes + scratchBytes;
    return { ...entryOf(named), size, expires_at: NEVER, context_length: contextSize };
  });
  return jsonResponse({ models });
}

/** The server's own version: it is no Ollama. */
export function version(): Response {
  return jsonResponse({ version: VERSION });
}

/** What is known of the model by the names that its file's metadata have. */
function modelInfo(info: ModelInfo): Record<string, unknown> {
  const { architecture } = info;
  return {
    "general.architecture": architecture,
    ...(info.name === undefined ? {} : { "general.name": info.name }),
    "general.parameter_count": info.nParameters,
    [`${architecture}.attention.head_count`]: info.nHeads,
    [`${architecture}.attention.head_count_kv`]: info.nKvHeads,
    [`${architecture}.attention.key_length`]: info.headDim,
    [`${architecture}.block_count`]: info.nLayers,
    [`${architecture}.context_length`]: info.contextLength,
    [`${architecture}.embedding_length`]: info.hiddenSize,
    [`${architecture}.vocab_size`]: info.vocabSize,
  };
}

/** Whether the model's template tells it of tools: found out by trying. */
async function knowsTools(model: ServedModel): Promise<boolean> {
  try {
    const [without, using] = await Promise.all([
      model.tokenize(PROBE, {}),
      model.tokenize(PROBE, { tools: [PROBE_TOOL] }),
    ]);
    return without.join() !== using.join();
  } catch (error) {
    if (error instanceof RealizarError && (error.code === "TEMPLATE" || error.code === "UNSUPPORTED")) return false;
    throw error;
  }
}

async function capabilitiesOf(model: ServedModel): Promise<string[]> {
  if (!model.info.hasChatTemplate) return ["completion"];
  const [tools, thinking] = await Promise.all([knowsTools(model), effortValues(model, "high").catch(() => undefined)]);
  return ["completion", ...(tools ? ["tools"] : []), ...(thinking === undefined ? [] : ["thinking"])];
}

/** Tells about one model. */
export async function show({ service, body }: RouteContext): Promise<Response> {
  const fields = new Fields(body);
  const { model } = ollamaModelOf(service, fields, ["name"]);
  fields.boolean("verbose"); // long lists of the file's metadata are never told
  fields.refuseRest(["system", "template", "options"]);
  return jsonResponse({
    modelfile: "",
    parameters: "",
    template: "",
    details: detailsOf(model.info),
    model_info: modelInfo(model.info),
    capabilities: await capabilitiesOf(model),
    modified_at: timeOf(service),
  });
}
