/**
 * `npm run bench:table`: the README's tables of speeds from bench/results, between `<!-- speed:cpu -->` and
 * `<!-- /speed:cpu -->`, and `<!-- speed:gpu -->` and `<!-- /speed:gpu -->`: of each machine, model and test the last
 * line that was recorded. A GPU's lines are shown where a figure of llama.cpp stands beside them, or a context is long.
 */
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { inRoot } from "./lib/paths.mjs";
import { main, StepError } from "./lib/step.mjs";

/** What a test is called in the README. */
function title(test) {
  const [, kind, n, depth, rest = ""] = /^(pp|tg|b)(\d+)(?:@(\d+))?(, .*)?$/.exec(test) ?? [];
  if (test === "load") return "load to a first token";
  if (kind === "pp") return `prompt of ${n} tokens`;
  if (kind === "b") return `decode, ${n} sequences`;
  return `decode, ${n} tokens${depth === undefined ? "" : `, ${depth} deep`}${rest}`;
}

function linesOf(file) {
  return readFileSync(inRoot("bench", "results", file), "utf8").trim().split("\n").map((line) => JSON.parse(line));
}

/** Lines of comparisons on a CPU; later lines of the same machine, model and test replace earlier ones. */
function results() {
  const rows = new Map();
  for (const file of readdirSync(inRoot("bench", "results")).filter((name) => name.endsWith(".jsonl")).sort()) {
    for (const row of linesOf(file)) {
      if (row.model === undefined || (row.peer_tok_s ?? row.peer_ms) === undefined) continue;
      const isa = row.isa === undefined || row.isa === "auto" ? "" : `, ${row.isa} only`;
      rows.set(`${row.machine}|${row.model}|${row.test}|${isa}`, {
        ...row,
        group: `${row.model}, ${row.machine}${isa}`,
      });
    }
  }
  const groups = new Map();
  for (const row of rows.values()) groups.set(row.group, [...groups.get(row.group) ?? [], row]);
  return groups;
}

function table(group, rows) {
  const unit = (row, value) => row.test === "load" ? `${(value / 1000).toFixed(2)} s` : `${value} tok/s`;
  const body = rows.map((row) => {
    const share = row.share_of_bandwidth === undefined ? "" : `${Math.round(100 * row.share_of_bandwidth)} %`;
    const [ours, theirs] = [row.tok_s ?? row.ms, row.peer_tok_s ?? row.peer_ms].map((value) => unit(row, value));
    return `| ${title(row.test)} | ${ours} | ${theirs} | ${row.ratio.toFixed(1)} | ${share} | ${row.commit} |`;
  });
  const head = `| ${group} | realizar | node-llama-cpp | ratio | of read bandwidth | commit |`;
  return [head, "| --- | --- | --- | --- | --- | --- |", ...body].join("\n");
}

/** The last line of each test of each model on a GPU, as one table a GPU. */
function gpuTables() {
  const tables = new Map();
  for (const file of readdirSync(inRoot("bench", "results")).filter((name) => name.startsWith("nvidia")).sort()) {
    for (const row of linesOf(file)) {
      if (row.tok_s === undefined || !/^(pp|tg|b)\d+(@\d+)?(, Q8_0 KV)?$/.test(row.test)) continue;
      const rows = tables.get(row.device) ?? new Map();
      tables.set(row.device, rows.set(`${row.model} ${row.dtype}|${row.test}`, row));
    }
  }
  return [...tables].map(([device, rows]) => {
    const shown = [...rows.values()].filter((row) => row.llama_cpp_tok_s || /32768/.test(row.test));
    shown.sort((a, b) => a.model.localeCompare(b.model));
    const number = (value) => value ? Math.round(value).toLocaleString("en-US") : "";
    const body = shown.map((row) => {
      const ratio = row.llama_cpp_tok_s ? (row.tok_s / row.llama_cpp_tok_s).toFixed(1) : "";
      const name = `${row.model} ${row.dtype}, ${title(row.test)}`;
      return `| ${name} | ${number(row.tok_s)} tok/s | ${number(row.llama_cpp_tok_s)} | ${ratio} | ${row.commit} |`;
    });
    return [`| ${device} | realizar | llama.cpp | ratio | commit |`, "| --- | --- | --- | --- | --- |", ...body].join(
      "\n",
    );
  });
}

/** The text with what stands between the marks of a table replaced. */
function replaced(text, mark, tables) {
  const begin = `<!-- speed:${mark} -->`, end = `<!-- /speed:${mark} -->`;
  const [from, to] = [text.indexOf(begin), text.indexOf(end)];
  if (from < 0 || to < from) throw new StepError(`bench:table: README.md has no ${begin} ... ${end}`);
  return `${text.slice(0, from + begin.length)}\n\n${tables.join("\n\n")}\n\n${text.slice(to)}`;
}

await main(() => {
  const path = inRoot("README.md");
  const cpu = [...results()].map(([group, rows]) => table(group, rows)), gpu = gpuTables();
  writeFileSync(path, replaced(replaced(readFileSync(path, "utf8"), "cpu", cpu), "gpu", gpu));
  console.log(
    `${[...cpu, ...gpu].join("\n\n")}\n\nbench:table: README.md is written; format it: npx deno fmt README.md`,
  );
});
