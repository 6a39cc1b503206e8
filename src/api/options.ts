/** Options of the API, the command and the server, checked in one place: what is out of range is refused. */
import { CREDIT, type GenerationRequest, type Placement, type WireSource } from "../engine/protocol.ts";
import { RealizarError } from "../errors.ts";
import { env } from "../platform/env.ts";
import type { GenerateOptions, KvDtype, ModelSource, PlacementOptions, SamplingOptions } from "../types.ts";

const PENALTY_WINDOW = 64;
const STOPS_MAX = 64;
const STOP_LENGTH_MAX = 4096;
const NAME_LENGTH_MAX = 256;
const RESERVED_VALUES = ["messages", "tools", "documents", "add_generation_prompt"];

interface Range {
  min: number;
  max: number;
  integer?: boolean;
}

/** Range of every number a caller can give. */
const RANGES = {
  contextSize: { min: 1, max: 2 ** 24, integer: true },
  maxSequences: { min: 1, max: 256, integer: true },
  kvTokens: { min: 1, max: 2 ** 28, integer: true },
  threads: { min: 1, max: 256, integer: true },
  maxTokens: { min: 0, max: 2 ** 31 - 1, integer: true },
  /** Of the server's APIs, which want answers. */
  answerTokens: { min: 1, max: 2 ** 31 - 1, integer: true },
  temperature: { min: 0, max: 100 },
  topK: { min: 0, max: 2 ** 31 - 1, integer: true },
  topP: { min: 0, max: 1 },
  minP: { min: 0, max: 1 },
  typicalP: { min: 0, max: 1 },
  repetitionPenalty: { min: 0.01, max: 100 },
  presencePenalty: { min: -100, max: 100 },
  frequencyPenalty: { min: -100, max: 100 },
  penaltyWindow: { min: 0, max: 2 ** 31 - 1, integer: true },
  seed: { min: 0, max: Number.MAX_SAFE_INTEGER, integer: true },
  logprobs: { min: 0, max: 256, integer: true },
  promptLogprobs: { min: 0, max: 256, integer: true },
  maxBatch: { min: 1, max: 4096, integer: true },
  queueTimeoutMs: { min: 1, max: 2 ** 31 - 1, integer: true },
} as const satisfies Record<string, Range>;

function refuse(what: string, got: unknown, expected: string): never {
  const shown = typeof got === "string" ? JSON.stringify(got) : String(got);
  throw new RealizarError("ARG", `${what}: got ${shown}, expected ${expected}`);
}

/** The number, when it is in its range; undefined stays undefined. */
export function checkNumber(name: keyof typeof RANGES, value: number | undefined): number | undefined {
  if (value === undefined) return undefined;
  const { min, max, integer }: Range = RANGES[name];
  const fits = typeof value === "number" && value >= min && value <= max && (!integer || Number.isInteger(value));
  if (!fits) refuse(name, value, `${integer ? "a whole number" : "a number"} from ${min} to ${max}`);
  return value;
}

function checkDevice(device: string): { device: Placement["device"]; deviceIndex: number } {
  if (device === "auto" || device === "cpu" || device === "ref" || device === "cuda") return { device, deviceIndex: 0 };
  const index = /^cuda:(\d{1,2})$/.exec(device)?.[1];
  if (index === undefined) refuse("device", device, `"auto", "cpu", "ref", "cuda" or "cuda:N"`);
  return { device: "cuda", deviceIndex: Number(index) };
}

function checkKvDtype(value: string | undefined): KvDtype | undefined {
  if (value === undefined || value === "f32" || value === "f16" || value === "q8_0") return value;
  return refuse("kvDtype", value, `"f32", "f16" or "q8_0"`);
}

/** Where a model goes; variables of the environment fill in what the caller left open. */
export function checkPlacement(options: PlacementOptions): Placement {
  const threads = env("REALIZAR_THREADS");
  return {
    ...checkDevice(options.device ?? env("REALIZAR_DEVICE") ?? "auto"),
    contextSize: options.contextSize === "auto" ? "auto" : checkNumber("contextSize", options.contextSize) ?? 0,
    maxSequences: checkNumber("maxSequences", options.maxSequences) ?? 8,
    kvTokens: checkNumber("kvTokens", options.kvTokens) ?? 0,
    threads: checkNumber("threads", options.threads ?? (threads === undefined ? undefined : Number(threads))) ?? 0,
    kvDtype: checkKvDtype(options.kvDtype),
    deterministic: options.deterministic ?? false,
    libraryPath: options.libraryPath,
  };
}

/** A source as it can be posted to the engine Worker. */
export function checkSource(source: ModelSource): WireSource {
  if (typeof source === "string") {
    if (source.startsWith("hf:")) {
      throw new RealizarError("UNSUPPORTED", `${source}: hf: sources are not supported yet`);
    }
    if (source === "") refuse("source", source, "a path");
    return { kind: "path", path: source };
  }
  if (source instanceof Uint8Array) return { kind: "bytes", bytes: source };
  if (source instanceof Blob) return { kind: "blob", blob: source };
  if (source instanceof URL) {
    throw new RealizarError("UNSUPPORTED", `${source.href}: URL sources are not supported yet`);
  }
  if (source instanceof ReadableStream) {
    throw new RealizarError("UNSUPPORTED", "ReadableStream sources are not supported yet");
  }
  return refuse("source", source, "a path, Uint8Array or Blob");
}

function checkBias(bias: Readonly<Record<number, number>> | undefined, vocabSize: number): [number, number][] {
  return Object.entries(bias ?? {}).map(([key, value]) => {
    const token = Number(key);
    if (!Number.isInteger(token) || token < 0 || token >= vocabSize) {
      refuse("logitBias", key, `token ids from 0 to ${vocabSize - 1}`);
    }
    if (typeof value !== "number" || Number.isNaN(value) || value === Infinity) {
      refuse(`logitBias[${key}]`, value, "a finite number or -Infinity");
    }
    return [token, value];
  });
}

function checkStops(stop: GenerateOptions["stop"]): string[] {
  const stops = stop === undefined ? [] : typeof stop === "string" ? [stop] : [...stop];
  if (stops.length > STOPS_MAX) refuse("stop", `${stops.length} strings`, `at most ${STOPS_MAX}`);
  for (const one of stops) {
    if (typeof one !== "string" || one === "" || one.length > STOP_LENGTH_MAX) {
      refuse("stop", one, `strings of 1 to ${STOP_LENGTH_MAX} characters`);
    }
  }
  return stops;
}

/** A short text that keeps generations together or apart. */
function checkName(what: "cacheSalt" | "client", name: string): string {
  if (typeof name === "string" && name.length <= NAME_LENGTH_MAX) return name;
  return refuse(what, name, `a string of at most ${NAME_LENGTH_MAX} characters`);
}

/** How many likeliest tokens `logprobs` or `promptLogprobs` ask for; undefined = they are off. */
function checkTop(name: "logprobs" | "promptLogprobs", value: boolean | number | undefined): number | undefined {
  if (value === undefined || value === false) return undefined;
  return value === true ? 0 : checkNumber(name, value);
}

/** Variables for a chat template: scalars, and none of those that a conversation brings itself. */
export function checkValues(values: Readonly<Record<string, unknown>> = {}): Readonly<Record<string, unknown>> {
  for (const [name, value] of Object.entries(values)) {
    const isScalar = value === null || ["string", "number", "boolean"].includes(typeof value);
    if (!isScalar) refuse(`templateValues.${name}`, value, "a string, number, boolean or null");
    if (RESERVED_VALUES.includes(name)) {
      refuse("templateValues", name, `other names than ${RESERVED_VALUES.join(", ")}`);
    }
  }
  return values;
}

/** A seed nobody chose. */
export function randomSeed(): number {
  const [low, high] = crypto.getRandomValues(new Uint32Array(2));
  return (high! & 0x1fffff) * 2 ** 32 + low!;
}

/** Everything a generation needs but its id and tokens. `defaults` come from the model file. */
export function checkGenerate(
  options: GenerateOptions,
  defaults: SamplingOptions,
  vocabSize: number,
): Omit<GenerationRequest, "id" | "tokens"> & { seed: number } {
  const pick = <K extends keyof typeof RANGES & keyof SamplingOptions>(name: K, otherwise: number): number =>
    checkNumber(name, (options[name] ?? defaults[name]) as number | undefined) ?? otherwise;
  const seed = checkNumber("seed", options.seed) ?? randomSeed();
  const top = checkTop("logprobs", options.logprobs);
  return {
    seed,
    sampling: {
      temperature: pick("temperature", 0.8),
      topK: pick("topK", 40),
      topP: pick("topP", 0.95),
      minP: pick("minP", 0.05),
      typicalP: pick("typicalP", 1),
      repetition: pick("repetitionPenalty", 1),
      presence: pick("presencePenalty", 0),
      frequency: pick("frequencyPenalty", 0),
      seedLow: seed % 2 ** 32,
      seedHigh: Math.floor(seed / 2 ** 32),
      nTop: top ?? 0,
      bias: checkBias(options.logitBias ?? defaults.logitBias, vocabSize),
    },
    penaltyWindow: pick("penaltyWindow", PENALTY_WINDOW),
    stops: checkStops(options.stop),
    maxTokens: checkNumber("maxTokens", options.maxTokens),
    credit: CREDIT,
    ignoreEos: options.ignoreEos ?? false,
    logprobs: top !== undefined,
    promptTop: checkTop("promptLogprobs", options.promptLogprobs),
    grammar: undefined,
    salt: checkName("cacheSalt", options.cacheSalt ?? ""),
    client: checkName("client", options.client ?? ""),
    queueTimeoutMs: checkNumber("queueTimeoutMs", options.queueTimeoutMs) ?? 0,
  };
}
