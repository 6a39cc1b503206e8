/** GET /v1/models and /v1/models/{id}. */
import { jsonResponse } from "../errors.ts";
import type { RouteContext } from "../route.ts";
import type { NamedModel, Service } from "../service.ts";

function entryOf({ name, model }: NamedModel, service: Service): Record<string, unknown> {
  const { contextSize, architecture, nParameters } = model.info;
  return {
    id: name,
    object: "model",
    created: service.createdAt,
    owned_by: "realizar",
    max_model_len: contextSize,
    architecture,
    n_parameters: nParameters,
  };
}

/** Lists what is served. */
export function listModels({ service }: RouteContext): Response {
  return jsonResponse({ object: "list", data: service.models().map((named) => entryOf(named, service)) });
}

/** Tells about one. */
export function oneModel({ service, rest }: RouteContext): Response {
  return jsonResponse(entryOf(service.model(rest), service));
}
