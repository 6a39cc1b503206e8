/**
 * The OpenAI API over a model, in process and on a port; docs/serving.md tells more.
 *
 *     bun examples/server.ts MODEL.gguf [PORT]
 */
import process from "node:process";
import { Model } from "../src/mod.ts";
import { createHandler, serve } from "../src/server/mod.ts";

const [path, port = "8080"] = process.argv.slice(2);
if (path === undefined) throw new Error("usage: server.ts MODEL.gguf [PORT]");

await using model = await Model.load(path);
const handler = createHandler({ models: { mine: model }, allowedHosts: ["localhost", "127.0.0.1"] });

// In process, as a client's `fetch`:
const list = await handler(new Request("http://localhost/v1/models"));
console.log(await list.text());

const server = await serve(handler, { port: Number(port) });
console.log(`${server.url}/v1 serves "mine"; Ctrl-C ends it`);
process.once("SIGINT", () => void server.shutdown());
await server.closed;
