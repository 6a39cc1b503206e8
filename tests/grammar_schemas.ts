/** Schemas for the tests of grammars, each with documents that are valid and accepted, and such that are refused. */

/** A schema and documents. */
export interface SchemaCase {
  readonly name: string;
  readonly schema: unknown;
  /** Texts that the grammar accepts; the validator must agree. */
  readonly accepted?: readonly string[];
  /** Texts with the index of the first byte that is refused (their length: the end is). */
  readonly refused?: readonly (readonly [text: string, at: number])[];
}

/** Scalars. */
export const SCALARS: readonly SchemaCase[] = [
  { name: "true", schema: true, accepted: ["1", '"a"', '{"a": [1, {"b": null}]}', "[]", "-0.5e-3", "[\n  true\n]"] },
  { name: "null", schema: { type: "null" }, accepted: ["null"], refused: [["nul", 3], ["true", 0]] },
  { name: "boolean", schema: { type: "boolean" }, accepted: ["true", "false"], refused: [["tru ", 3], ["1", 0]] },
  {
    name: "integer",
    schema: { type: "integer" },
    accepted: ["0", "-7", "9007199254740991", "-9007199254740991"],
    refused: [["01", 1], ["-0", 1], ["1.0", 1], ["9007199254740992", 15], ["+1", 0]],
  },
  {
    name: "integer range",
    schema: { type: "integer", minimum: -12, exclusiveMaximum: 105 },
    accepted: ["-12", "-1", "0", "9", "99", "100", "104"],
    refused: [["-13", 2], ["105", 2], ["1000", 3], ["-", 1]],
  },
  {
    name: "large integer range",
    schema: { type: "integer", minimum: 123456789, maximum: 123466788 },
    accepted: ["123456789", "123466788", "123459999"],
    refused: [["123456788", 8], ["123466789", 8], ["12345678", 8], ["2", 0]],
  },
  {
    name: "number",
    schema: { type: "number" },
    accepted: ["1", "-1.25", "3e8", "0.1E-5"],
    refused: [[".5", 0], ["1.", 2]],
  },
  {
    name: "number range",
    schema: { type: "number", exclusiveMinimum: 0.25, maximum: 12.5 },
    accepted: ["0.251", "0.3", "1", "9.75", "12.5", "12.50", "12"],
    refused: [["0.25", 4], ["0.2", 3], ["12.51", 4], ["13", 1], ["-1", 0], ["1e1", 1]],
  },
  {
    name: "negative number range",
    schema: { type: "number", minimum: -2.5, exclusiveMaximum: -0.125 },
    accepted: ["-2.5", "-1", "-0.126", "-2.49"],
    refused: [["-0.125", 6], ["-2.51", 4], ["0", 0], ["-3", 1]],
  },
  {
    name: "two patterns and a format",
    schema: { allOf: [{ pattern: "^20" }, { type: "string", format: "date", pattern: "-0[1-3]$" }] },
    accepted: ['"2024-11-02"'],
    refused: [['"1999', 1], ['"2024-11-04"', 10]],
  },
  {
    name: "a format that a pattern tells",
    schema: { type: "string", format: "x-code", pattern: "^[A-Z]{3}$" },
    accepted: ['"ABC"'],
  },
  {
    name: "multiples",
    schema: { type: "integer", multipleOf: 15, minimum: -100, maximum: 1000 },
    accepted: ["0", "15", "-90", "990", "105"],
    refused: [["-105", 2], ["1005", 2], ["5", 1], ["100", 2], ["16", 2]],
  },
  {
    name: "common multiples",
    schema: { allOf: [{ multipleOf: 4 }, { multipleOf: 6, type: "number" }] },
    accepted: ["12", "-24", "1200000000000"],
  },
  { name: "multiple of one", schema: { type: "number", multipleOf: 1 }, accepted: ["12"], refused: [["1.5", 1]] },
  {
    name: "string",
    schema: { type: "string" },
    accepted: ['""', '"aé日😀"', '"\\u00e9\\ud83d\\ude00\\n\\/\\""'],
    refused: [['"\n"', 1], ['"\\x"', 2], ['"\\ud83d"', 7], ['"\\ude00"', 4], ['"a', 2]],
  },
  {
    name: "string length",
    schema: { type: "string", minLength: 2, maxLength: 4 },
    accepted: ['"ab"', '"日本語😀"', '"\\u0041b"', '"\\ud83d\\ude00a"'],
    refused: [['"a"', 2], ['"abcde"', 5], ['"\\n\\n\\n\\n\\n"', 9]],
  },
  {
    name: "long string",
    schema: { type: "string", minLength: 300, maxLength: 100000 },
    accepted: [`"${"ab日".repeat(150)}"`],
  },
  {
    name: "pattern",
    schema: { type: "string", pattern: "^[a-z]{2,3}-(?:\\d+|x)$" },
    accepted: ['"ab-1"', '"abc-x"', '"abc-000"'],
    refused: [['"a-1"', 2], ['"ab-"', 4], ['"ab-1x"', 5], ['"AB"', 1]],
  },
  {
    name: "pattern somewhere",
    schema: { type: "string", pattern: 'b\\\\"\\n?c', maxLength: 8 },
    accepted: ['"b\\\\\\"c"', '"aab\\\\\\"\\ncx"'],
    refused: [['"b\\\\\\"d"', 7]],
  },
  {
    name: "pattern with length",
    schema: { type: "string", pattern: "^a*b*$", minLength: 3, maxLength: 5 },
    accepted: ['"aaa"', '"abbbb"', '"bbb"'],
    refused: [['"ab"', 3], ['"aabbbb"', 6], ['"aba"', 3]],
  },
  { name: "date-time", schema: { type: "string", format: "date-time" }, accepted: ['"2024-11-30T23:59:59.5Z"'] },
  {
    name: "date",
    schema: { format: "date" },
    accepted: ['"2024-02-28"'],
    refused: [['"2024-02-30"', 9], ['"2024-13"', 7]],
  },
  { name: "time", schema: { type: "string", format: "time" }, accepted: ['"00:00:00+01:30"'] },
  {
    name: "duration",
    schema: { type: "string", format: "duration" },
    accepted: ['"P1Y2M3D"', '"PT5M"', '"P3DT4H"', '"P2W"'],
  },
  { name: "uuid", schema: { type: "string", format: "uuid" }, accepted: ['"123e4567-e89b-12d3-a456-426614174000"'] },
  { name: "ipv4", schema: { type: "string", format: "ipv4" }, accepted: ['"255.0.10.1"'], refused: [['"256.', 3]] },
  {
    name: "uri",
    schema: { type: "string", format: "uri" },
    accepted: ['"https://a-b.example.org:80/x/y.z?q=1&r=#top"', '"http://a"'],
  },
  { name: "ipv6", schema: { type: "string", format: "ipv6" }, accepted: ['"2001:db8:0:0:0:0:0:1"'] },
  { name: "email", schema: { type: "string", format: "email" }, accepted: ['"a.b+c@x-y.example.org"'] },
  { name: "hostname", schema: { type: "string", format: "hostname" }, accepted: ['"a-b.example.org"'] },
  {
    name: "enum",
    schema: { enum: ["red", "reddish", 1, 12, null, { a: [1] }] },
    accepted: ['"red"', '"reddish"', "12", '{"a":[1]}'],
  },
  {
    name: "enum of a type",
    schema: { type: ["string", "null"], enum: ["a", 1, null] },
    accepted: ['"a"', "null"],
    refused: [["1", 0]],
  },
  { name: "const", schema: { const: 'é"\n' }, accepted: ['"é\\"\\n"'] },
  {
    name: "types",
    schema: { type: ["integer", "string", "null"], maxLength: 2 },
    accepted: ["5", '"ab"', "null"],
    refused: [['"abc"', 3]],
  },
];
