/**
 * `npm run bench:table`: the README's table of CPU speeds from bench/results, between `<!-- speed:cpu -->` and
 * `<!-- /speed:cpu -->`: of each machine, model and test the last line that was recorded.
 */
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { inRoot } from "./lib/paths.mjs";
import { main, StepError } from "./lib/step.mjs";

const BEGIN = "<!-- speed:cpu -->";
const END = "<!-- /speed:cpu -->";

/** What a test is called in the README. */
function title(test) {
  const [, kind, n, depth] = /^(pp|tg|b)(\d+)(?:@(\d+))?$/.exec(test) ?? [];
  if (test === "load") return "load to a first token";
  if (kind === "pp") return `prompt of ${n} tokens`;
  if (kind === "b") return `decode, ${n} sequences`;
  return `decode, ${n} tokens${depth === undefined ? "" : `, ${depth} deep`}`;
}

/** Lines of comparisons on a CPU; later lines of the same machine, model and test replace earlier ones. */
function results() {
  const rows = new Map();
  for (const file of readdirSync(inRoot("bench", "results")).filter((name) => name.endsWith(".jsonl")).sort()) {
    for (const line of readFileSync(inRoot("bench", "results", file), "utf8").trim().split("\n")) {
      const row = JSON.parse(line);
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

await main(() => {
  const path = inRoot("README.md");
  const readme = readFileSync(path, "utf8");
  const [begin, end] = [readme.indexOf(BEGIN), readme.indexOf(END)];
  if (begin < 0 || end < begin) throw new StepError(`bench:table: README.md has no ${BEGIN} ... ${END}`);
  const tables = [...results()].map(([group, rows]) => table(group, rows)).join("\n\n");
  writeFileSync(path, `${readme.slice(0, begin + BEGIN.length)}\n\n${tables}\n\n${readme.slice(end)}`);
  console.log(`${tables}\n\nbench:table: README.md is written; format it: node_modules/.bin/deno fmt README.md`);
});
