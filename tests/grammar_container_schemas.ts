/** More schemas for the tests of grammars: objects, arrays and what combines them. */
import { SCALARS, type SchemaCase } from "./grammar_schemas.ts";

const TREE = {
  $ref: "#/$defs/node",
  $defs: {
    node: {
      type: "object",
      properties: { value: { type: "integer" }, children: { type: "array", items: { $ref: "#/$defs/node" } } },
      required: ["value"],
      additionalProperties: false,
    },
  },
};

/** Objects, arrays and what combines them. */
const CONTAINERS: readonly SchemaCase[] = [
  {
    name: "object",
    schema: {
      type: "object",
      properties: { a: { type: "integer" }, b: { type: "string" }, c: { type: "boolean" } },
      required: ["b"],
      additionalProperties: false,
    },
    accepted: ['{"b":""}', '{ "a": 1, "b": "x" }', '{"a":1,"b":"x","c":true}', '{\n  "b": "x",\n  "c": false\n}'],
    refused: [["{}", 1], ['{"a":1}', 6], ['{"b":"","a":1}', 9], ['{"b":"",}', 8], ['{"d"', 2], ['{"b":"" ,', 8]],
  },
  {
    name: "all optional",
    schema: { type: "object", properties: { a: true, b: { type: "null" } } },
    accepted: ["{}", '{"b":null}', '{"a":[1],"b":null}'],
  },
  {
    name: "other members",
    schema: { type: "object", properties: { ab: { type: "integer" } }, additionalProperties: { type: "string" } },
    accepted: ['{"ab":1,"a":"x","abc":"y","":"z"}', '{"x\\"":"1"}', "{}"],
    refused: [['{"ab":"', 6], ['{"ab":1,"ab":', 11], ['{"a":1', 5], ['{"\\u0061b":1}', 6]],
  },
  {
    name: "open object",
    schema: { type: "object", properties: { a: { type: "null" } }, additionalProperties: true },
    accepted: ['{"b":{"a":1}}'],
  },
  {
    name: "map",
    schema: { additionalProperties: { type: "integer", minimum: 1 } },
    accepted: ['{"a":1,"\\u0062":2}'],
    refused: [['{"a":0', 5]],
  },
  {
    name: "required only",
    schema: { type: "object", required: ["z"], additionalProperties: { type: "null" } },
    accepted: ['{"z":null,"y":null}'],
    refused: [["{}", 1]],
  },
  {
    name: "names by pattern",
    schema: { patternProperties: { "^[a-c]+$": { type: "integer" } }, additionalProperties: false },
    accepted: ["{}", '{"a":1,"abc":2}'],
    refused: [['{"d', 2], ['{"a":"', 5]],
  },
  {
    name: "names by schema",
    schema: { type: "object", propertyNames: { minLength: 2, maxLength: 3 }, additionalProperties: { type: "null" } },
    accepted: ["{}", '{"ab":null,"abc":null}'],
    refused: [['{"a"', 3], ['{"abcd', 5]],
  },
  {
    name: "listed names",
    schema: {
      type: "object",
      propertyNames: { type: "string", enum: ["a", "b", "c"] },
      required: ["b"],
      additionalProperties: { type: "integer" },
    },
    accepted: ['{"b":1}', '{"b":1,"a":2,"c":3}'],
    refused: [['{"a', 2], ['{"b":1,"b', 8], ['{"b":1,"d', 8]],
  },
  { name: "any object", schema: { type: "object" }, accepted: ['{"a":{"b":[{}]}}', "{}"], refused: [["[", 0]] },
  {
    name: "array",
    schema: { type: "array", items: { type: "boolean" } },
    accepted: ["[]", "[true,false]", "[ true ]"],
    refused: [["[,", 1], ["[true,]", 6]],
  },
  {
    name: "array length",
    schema: { type: "array", minItems: 2, maxItems: 3, items: { type: "null" } },
    accepted: ["[null,null]", "[null, null, null]"],
    refused: [["[null]", 5], ["[null,null,null,", 15]],
  },
  { name: "no items", schema: { type: "array", items: false }, accepted: ["[]"], refused: [["[1", 1]] },
  { name: "empty array", schema: { type: "array", maxItems: 0 }, accepted: ["[]"], refused: [["[1", 1]] },
  {
    name: "places",
    schema: {
      type: "array",
      prefixItems: [{ type: "integer" }, { type: "string" }],
      items: { type: "null" },
      minItems: 1,
      maxItems: 4,
    },
    accepted: ["[1]", '[1,"a"]', '[1,"a",null,null]'],
    refused: [["[]", 1], ['["a"', 1], ["[1,2", 3], ['[1,"a",null,null,', 16]],
  },
  {
    name: "places only",
    schema: { prefixItems: [{ const: 1 }, { const: 2 }], items: false, minItems: 2 },
    accepted: ["[1,2]"],
    refused: [["[1]", 2], ["[1,2,", 4]],
  },
  {
    name: "anyOf",
    schema: {
      anyOf: [{ type: "integer" }, { type: "string", maxLength: 1 }, { type: "array", items: { type: "integer" } }],
    },
    accepted: ["1", '"a"', "[1]"],
  },
  {
    name: "anyOf with siblings",
    schema: {
      type: "object",
      properties: { k: { type: "string" }, n: { type: "integer" } },
      required: ["k"],
      anyOf: [{ required: ["n"] }, { properties: { k: { const: "none" } } }],
    },
    accepted: ['{"k":"x","n":1}', '{"k":"none"}'],
    refused: [['{"k":"x"}', 8]],
  },
  {
    name: "oneOf by kind",
    schema: {
      oneOf: [
        { type: "object", properties: { kind: { const: "circle" }, r: { type: "number" } }, required: ["kind", "r"] },
        { type: "object", properties: { kind: { const: "box" }, w: { type: "number" } }, required: ["kind", "w"] },
      ],
    },
    accepted: ['{"kind":"circle","r":1}', '{"kind":"box","w":2}'],
    refused: [['{"kind":"box","r"', 15]],
  },
  {
    name: "allOf",
    schema: {
      allOf: [{ $ref: "#/$defs/named" }, {
        type: "object",
        properties: { age: { type: "integer", minimum: 0 } },
        required: ["age"],
      }],
      $defs: {
        named: { type: "object", properties: { name: { type: "string" }, age: { maximum: 150 } }, required: ["name"] },
      },
    },
    accepted: ['{"name":"a","age":150}'],
    refused: [['{"name":"a"}', 11], ['{"name":"a","age":151', 20]],
  },
  {
    name: "allOf of scalars",
    schema: { allOf: [{ type: "integer" }, { minimum: 3 }, { type: "number", maximum: 5 }] },
    accepted: ["3", "5"],
    refused: [["2", 0], ["6", 0]],
  },
  {
    name: "recursive",
    schema: TREE,
    accepted: ['{"value":1,"children":[{"value":2},{"value":3,"children":[]}]}'],
    refused: [['{"children":', 2]],
  },
  {
    name: "recursive root",
    schema: { anyOf: [{ type: "null" }, { type: "array", items: { $ref: "#" }, maxItems: 2 }] },
    accepted: ["[null,[[],null]]"],
    refused: [["[null,null,", 10]],
  },
  {
    name: "names with signs",
    schema: { type: "object", properties: { 'a"b\\': { const: 1 }, "é\n": { const: 2 } }, required: ["é\n"] },
    accepted: ['{"a\\"b\\\\":1,"é\\n":2}'],
  },
  {
    name: "annotated",
    schema: {
      $schema: "https://json-schema.org/draft/2020-12/schema",
      $id: "https://example.org/s",
      title: "t",
      description: "d",
      default: 1,
      examples: [2],
      $comment: "c",
      deprecated: true,
      readOnly: true,
      type: "integer",
      maximum: 9,
      minimum: 0,
      "x-order": 1,
    },
    accepted: ["9"],
  },
  {
    name: "deep",
    schema: {
      type: "object",
      properties: {
        a: {
          type: "object",
          properties: {
            b: {
              type: "array",
              items: { type: "object", properties: { c: { enum: ["x", "y"] } }, required: ["c"] },
              minItems: 1,
            },
          },
          required: ["b"],
        },
      },
      required: ["a"],
    },
    accepted: ['{"a":{"b":[{"c":"x"},{"c":"y"}]}}'],
  },
];

/** All cases. */
export const SCHEMA_CASES: readonly SchemaCase[] = [...SCALARS, ...CONTAINERS];
