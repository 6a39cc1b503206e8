/** The roofline chart of `bench --plot`: what is drawn where, from the rows that were measured. */
import { readFileSync, writeFileSync } from "node:fs";
import { assert, assertEquals, assertThrows } from "@std/assert";
import { readResults, writePlot } from "../src/cli/bench_plot.ts";
import { rooflineSvg, roofsOf } from "../src/cli/roofline.ts";
import { RealizarError } from "../src/errors.ts";
import { inRoot, tempFolder, test } from "./support.ts";

const GPU = { device: "GPU <A>", read_gb_s: 1000 };
const ROWS = [
  { ...GPU, test: "tg128", model: "old & slow", dtype: "F32", tok_s: 1, read_gb_per_token: 10 },
  { ...GPU, test: "tg128", model: "big", dtype: "Q4_K", tok_s: 80, read_gb_per_token: 10, llama_cpp_tok_s: 40 },
  { ...GPU, test: "tg128", model: "old & slow", dtype: "F32", tok_s: 25, read_gb_per_token: 10 },
  { ...GPU, test: "tg64", model: "small", dtype: "Q8_0", tok_s: 250, gb_s: 250, peer_tok_s: 100 },
  { ...GPU, test: "pp512", model: "big", tok_s: 9000, read_gb_per_token: 10 },
  { ...GPU, test: "tg128@4096", model: "big", tok_s: 70, read_gb_per_token: 10 },
  { ...GPU, test: "tg128", model: "unknown bytes", tok_s: 70 },
  { device: "CPU", test: "tg32", model: "big", dtype: "Q4_K", tok_s: 3, gb_s: 30, share_of_bandwidth: 0.75 },
];

/** Elements of a kind as their attributes; text has `content`. */
function elements(svg: string, name: string, kind: string): Record<string, string>[] {
  return [...svg.matchAll(new RegExp(`<${name} ([^>]*?)/?>([^<]*)`, "g"))].map(([, attributes, content]) => ({
    ...Object.fromEntries([...attributes!.matchAll(/([a-z-]+)="([^"]*)"/g)].map(([, key, value]) => [key!, value!])),
    content: content!,
  })).filter((found: Record<string, string>) => kind === "" || found["class"] === kind);
}

/** The part of the chart of device i. */
function group(svg: string, i: number): string {
  return svg.split("<g ")[i + 1]!;
}

test("roofline: rows of decoding, the last one of each model, by device", () => {
  const charts = roofsOf(ROWS);
  assertEquals(charts.map(({ device, readGbS }) => [device, Math.round(readGbS)]), [["GPU <A>", 1000], ["CPU", 40]]);
  assertEquals(charts[0]!.points.map((p) => [p.model, p.tokS, p.gbPerToken, p.peerTokS]), [
    ["big", 80, 10, 40],
    ["old & slow", 25, 10, undefined],
    ["small", 250, 1, 100],
  ]);
});

test("roofline: bars are as long as their share, points lie under the roof by the logarithm of it", () => {
  const svg = group(rooflineSvg(roofsOf(ROWS)), 0);
  const lengths = (kind: string) => elements(svg, "rect", kind).map(({ width }) => Number(width));
  const whole = lengths("ours")[0]! / 0.8; // 80 tok/s x 10 GB of 1000 GB/s
  assertEquals(lengths("ours").map((x) => Math.round(1000 * x / whole)), [800, 250, 250]);
  assertEquals(lengths("peer").map((x) => Math.round(1000 * x / whole)), [400, 100]);
  const labels = elements(svg, "text", "small").map(({ content }) => content);
  for (const label of ["80 %, 80 tok/s", "40 %, 40 tok/s", "25 %, 25 tok/s", "25 %, 250 tok/s", "10 %, 100 tok/s"]) {
    assert(labels.includes(label), `${label} in ${labels}`);
  }
  // Tick labels say which value is where: y is linear in the logarithm.
  const heights = elements(svg, "text", "small").filter(({ content, x }) => /^\d+$/.test(content!) && Number(x) < 64);
  const [a, b] = [heights[0]!, heights.at(-1)!];
  const perLog = (Number(a["y"]) - Number(b["y"])) / Math.log(Number(a["content"]) / Number(b["content"]));
  const yOf = (tokS: number) => Number(a["y"]) - 4 + perLog * Math.log(tokS / Number(a["content"]));
  const points = elements(svg, "circle", "ours").filter(({ r, cy }) => r === "6" && cy !== "20");
  [80, 25, 250].forEach((tokS, i) => assert(Math.abs(Number(points[i]!["cy"]) - yOf(tokS)) < 0.1, `${tokS}`));
  // The roof passes 1000 GB/s / bytes at each point's place.
  const [, x0, y0, x1, y1] = /class="roof" d="M([\d.]+) ([\d.]+)L([\d.]+) ([\d.]+)"/.exec(svg)!.map(Number);
  [[0, 100], [2, 1000]].forEach(([i, roof]) => {
    const part = (Number(points[i!]!["cx"]) - x0!) / (x1! - x0!);
    assert(Math.abs(y0! + part * (y1! - y0!) - yOf(roof!)) < 0.1, `the roof over point ${i}`);
  });
});

test("roofline: a well-formed file with the text escaped, for light and dark pages", () => {
  const svg = rooflineSvg(roofsOf(ROWS));
  const open: string[] = [];
  for (const [, close, name, , self] of svg.matchAll(/<(\/?)([a-z]+)((?:\s+[\w:-]+="[^"<]*")*)\s*(\/?)>/g)) {
    if (close === "/") assertEquals(open.pop(), name);
    else if (self !== "/") open.push(name!);
  }
  assertEquals(open, []);
  assertEquals(svg.replaceAll(/<(\/?)([a-z]+)((?:\s+[\w:-]+="[^"<]*")*)\s*(\/?)>/g, "").includes("<"), false);
  assert(svg.includes("GPU &lt;A&gt;: reads 1000 GB/s") && svg.includes("old &amp; slow"));
  assert(svg.includes("prefers-color-scheme:dark") && !svg.includes("NaN") && !svg.includes("Infinity"));
  assert(!group(svg, 1).includes("llama.cpp"), "nothing to compare with there");
});

test("bench --plot: recorded results become a file; rows without decoding are refused", () => {
  using folder = tempFolder();
  const out = folder.file("out.svg"), lines = folder.file("rows.jsonl");
  writePlot(out, readResults(inRoot("bench", "results", "nvidia-h100-80gb.jsonl")));
  const svg = readFileSync(out, "utf8");
  for (const model of ["llama-3.1-8b", "qwen2.5-1.5b", "qwen3-0.6b", "llama-3.2-1b"]) {
    assert(svg.includes(model), model);
  }
  // llama.cpp's shares on that card: 262 x 4.616 of 3067 GB/s, 689 x 2.47.
  assert(svg.includes("39 %, 262 tok/s") && svg.includes("55 %, 689 tok/s"));
  const none = assertThrows(() => writePlot(out, [{ test: "pp512", model: "big", tok_s: 1 }]), RealizarError);
  assertEquals(none.code, "ARG");
  writeFileSync(lines, '{"test":"tg1"}\n{');
  assert(assertThrows(() => readResults(lines), RealizarError).message.includes("line 2"));
});
