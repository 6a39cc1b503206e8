/** A program that uses a text Worker and does not close it: text_worker_test.ts sees that it ends. */
import { spawnWorker } from "../src/platform/spawn.ts";
import { TextClient } from "../src/text/client.ts";
import { Vocab } from "../src/text/vocab.ts";
import { smallSource } from "./text_support.ts";

const client = new TextClient(spawnWorker);
client.setVocab(Vocab.build(smallSource()).tables);
const tokens = await client.encode({ kind: "text", text: "hello you", special: false, addSpecial: false });
console.log(`${tokens.length} tokens`);
