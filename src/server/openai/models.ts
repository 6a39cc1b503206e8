/** GET /v1/models and /v1/models/{id}, in the words of OpenAI's and Anthropic's APIs at once. */
import { invalid, jsonResponse } from "../errors.ts";
import type { RouteContext } from "../route.ts";
import type { Service } from "../service.ts";
import type { NamedModel } from "../served_model.ts";

function entryOf({ name, model }: NamedModel, service: Service): Record<string, unknown> {
  const { contextSize, architecture, nParameters } = model.info;
  return {
    id: name,
    object: "model",
    created: service.createdAt,
    owned_by: "realizar",
    type: "model",
    display_name: name,
    created_at: new Date(service.createdAt * 1000).toISOString(),
    capabilities: null,
    deprecated_at: null,
    lifecycle: "active",
    line: null,
    max_input_tokens: contextSize,
    max_tokens: contextSize,
    retires_at: null,
    max_model_len: contextSize,
    architecture,
    n_parameters: nParameters,
  };
}

const LIMIT_MAX = 1000;

/** The part of the list that a query asks for: up to `limit` models, those after or before one. Default all. */
function pageOf<T extends { readonly name: string }>(
  all: readonly T[],
  query: URLSearchParams,
): { page: T[]; more: boolean } {
  const given = query.get("limit");
  const limit = given === null ? LIMIT_MAX : Number(given);
  if (!Number.isInteger(limit) || limit < 1 || limit > LIMIT_MAX) {
    throw invalid("limit", `limit: got ${JSON.stringify(given)}, expected a whole number from 1 to ${LIMIT_MAX}`);
  }
  const indexOf = (param: string, otherwise: number): number => {
    const id = query.get(param);
    if (id === null) return otherwise;
    const index = all.findIndex(({ name }) => name === id);
    if (index < 0) throw invalid(param, `${param}: there is no model of this name`);
    return index;
  };
  const rest = all.slice(indexOf("after_id", -1) + 1, indexOf("before_id", all.length));
  const page = query.has("before_id") ? rest.slice(-limit) : rest.slice(0, limit);
  return { page, more: page.length < rest.length };
}

/** Lists what is served. */
export function listModels({ service, request }: RouteContext): Response {
  const { page, more } = pageOf(service.models(), new URL(request.url).searchParams);
  const data = page.map((named) => entryOf(named, service));
  const ends = { first_id: data[0]?.id ?? null, last_id: data.at(-1)?.id ?? null };
  return jsonResponse({ object: "list", data, has_more: more, ...ends });
}

/** Tells about one. */
export function oneModel({ service, rest }: RouteContext): Response {
  return jsonResponse(entryOf(service.model(rest), service));
}
