/**
 * Writes src/text/unicode_data.ts: the general categories and the Han script of Unicode 16, the version that PyPI
 * `tokenizers` 0.23 was found to use. Runs under a runtime with exactly that version (Deno 2.9 is one):
 *
 *     deno run --allow-write=src/text tools/vocab/unicode_classes.ts
 */
import { writeFileSync } from "node:fs";

const CLASSES = ["Lu", "Ll", "Lt", "Lm", "Lo", "M", "Nd", "Nl", "No", "P", "S", "Z", "C"];
/** Letters in Unicode 16; another count means another version. */
const LETTERS = 141_028;
const WIDTH = 112;

/** Class of every code point: an index into CLASSES. */
function classify(): Uint8Array {
  const classes = new Uint8Array(0x110000);
  const tests = CLASSES.map((name) => new RegExp(`^\\p{${name}}$`, "u"));
  for (let code = 0; code < classes.length; code++) {
    const text = String.fromCodePoint(code);
    classes[code] = tests.findIndex((test) => test.test(text));
  }
  return classes;
}

/** Runs as text: a letter for the value, then the length in base 36 unless it is 1. */
function runs(values: ArrayLike<number>): string {
  let text = "";
  for (let start = 0; start < values.length;) {
    let end = start + 1;
    while (end < values.length && values[end] === values[start]) end++;
    const length = end - start === 1 ? "" : (end - start).toString(36);
    text += String.fromCharCode(65 + values[start]!) + length;
    start = end;
  }
  return text;
}

function literal(text: string): string {
  const lines: string[] = [];
  for (let i = 0; i < text.length; i += WIDTH) lines.push(`  "${text.slice(i, i + WIDTH)}"`);
  return lines.join(" +\n");
}

const classes = classify();
const letters = classes.filter((value) => value < 5).length;
if (letters !== LETTERS) throw new Error(`this runtime knows ${letters} letters, Unicode 16 has ${LETTERS}`);
const han = Uint8Array.from(
  { length: 0x110000 },
  (_, code) => /^\p{Script=Han}$/u.test(String.fromCodePoint(code)) ? 1 : 0,
);
writeFileSync(
  "src/text/unicode_data.ts",
  `/** Unicode 16 as run lengths; written by tools/vocab/unicode_classes.ts. */

/** Names of the classes: a capital letter in the runs stands for the class at that place (A = 0). */
export const CLASS_NAMES = ${JSON.stringify(CLASSES).replaceAll(",", ", ")};

/** Class of every code point: a letter, then the run's length in base 36 (none = 1). */
export const CLASS_RUNS = // deno-fmt-ignore
${literal(runs(classes))};

/** Script Han: B where a code point is Han, A where it is not. */
export const HAN_RUNS = // deno-fmt-ignore
${literal(runs(han))};
`,
);
