/** Reads the JUnit reports of the three runtimes into one form. */
import { existsSync, readFileSync } from "node:fs";

const CASE = /<testcase((?:\s+[\w:.-]+="[^"]*")*)\s*(?:\/>|>([\s\S]*?)<\/testcase>)/g;
const SKIPPED = / \[skipped: ([\s\S]*)\]$/; // tests/support.ts puts the reason into the name

function unescape(text) {
  const named = { lt: "<", gt: ">", amp: "&", quot: '"', apos: "'" };
  return text.replace(/&(?:#x([0-9a-fA-F]+)|#(\d+)|(\w+));/g, (whole, hex, dec, name) => {
    if (hex !== undefined) return String.fromCodePoint(parseInt(hex, 16));
    if (dec !== undefined) return String.fromCodePoint(Number(dec));
    return named[name] ?? whole;
  });
}

function attribute(attributes, name) {
  const found = new RegExp(`\\s${name}="([^"]*)"`).exec(attributes);
  return found === null ? "" : unescape(found[1]);
}

function parseCase(attributes, body) {
  const fullName = attribute(attributes, "name");
  const skip = SKIPPED.exec(fullName);
  const name = skip === null ? fullName : fullName.slice(0, skip.index);
  const seconds = Number(attribute(attributes, "time"));
  const failure = /<(?:failure|error)\b([^>]*)>?([\s\S]*?)(?:<\/(?:failure|error)>|$)/.exec(body);
  if (failure !== null) {
    const text = unescape(failure[2]).trim();
    return { name, state: "failed", message: text || attribute(failure[1], "message"), seconds };
  }
  if (body.includes("<skipped")) return { name, state: "skipped", message: skip?.[1] ?? "no reason given", seconds };
  return { name, state: "passed", message: "", seconds };
}

/** The test cases of a report, or undefined when it was not written: the runtime crashed. */
export function readReport(path) {
  if (!existsSync(path)) return undefined;
  const text = readFileSync(path, "utf8");
  if (!text.includes("</testsuites>")) return undefined;
  return [...text.matchAll(CASE)].map(([, attributes, body]) => parseCase(attributes, body ?? ""));
}

/** What two lists of cases do not have in common, by name. */
export function differences(a, b) {
  const count = (cases) => {
    const counts = new Map();
    for (const { name } of cases) counts.set(name, (counts.get(name) ?? 0) + 1);
    return counts;
  };
  const [inA, inB] = [count(a), count(b)];
  const more = (x, y) => [...x].filter(([name, n]) => n > (y.get(name) ?? 0)).map(([name]) => name);
  return { onlyA: more(inA, inB), onlyB: more(inB, inA) };
}
