/** What the tests of the Responses API share: a scripted model behind a handler, and its streams' events. */
import { createHandler, type Handler, type HandlerOptions } from "../src/server/mod.ts";
import { type Script, ScriptedModel, text } from "./scripted_model.ts";
import { ask, post } from "./server_support.ts";

export const MODEL = "mine";
export const HELLO: Script = { pieces: [text("Hel"), text("lo.")] };

export interface Served {
  model: ScriptedModel;
  handler: Handler;
  /** Asks for a response with these fields beside the model and an input. */
  // deno-lint-ignore no-explicit-any
  respond(fields?: object): Promise<{ status: number; json: any }>;
  /** The same as a stream: its events. */
  stream(fields?: object): Promise<StreamEvent[]>;
}

// deno-lint-ignore no-explicit-any
export type StreamEvent = { type: string; sequence_number: number } & Record<string, any>;

/** Events of a stream of the API; each must have its name on the line before, and there is no [DONE]. */
export function namedEvents(body: string): StreamEvent[] {
  const blocks = body.split("\n\n").filter((block) => block !== "" && !block.startsWith(":"));
  return blocks.map((block) => {
    const match = /^event: (\S+)\ndata: (.*)$/.exec(block);
    if (match === null) throw new Error(`not an event of this API: ${block}`);
    const event = JSON.parse(match[2]!) as StreamEvent;
    if (event.type !== match[1]) throw new Error(`${match[1]} is called ${event.type}`);
    return event;
  });
}

/** A handler over scripts; `variables` are those that the template knows. */
export function served(
  scripts: Script | readonly Script[],
  variables: readonly string[] = [],
  options: Partial<HandlerOptions> = {},
): Served {
  const model = new ScriptedModel(Array.isArray(scripts) ? scripts : [scripts as Script], variables);
  const handler = createHandler({ models: { [MODEL]: model }, ...options });
  const base = { model: MODEL, input: "hi" };
  return {
    model,
    handler,
    respond: (fields = {}) => ask(handler, "/v1/responses", { ...base, ...fields }),
    async stream(fields = {}) {
      const response = await handler(post("/v1/responses", { ...base, stream: true, ...fields }));
      return namedEvents(await response.text());
    },
  };
}
