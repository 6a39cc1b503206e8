/**
 * Calls of the C ABI written down while a test makes them, to be made again by tests/native/replay.c, which describes
 * the file. What is recorded runs on `ref`, so that a trace holds only calls that are right.
 */
import { closeSync, openSync, writeSync } from "node:fs";
import { type Native, STRUCTS, SYMBOLS } from "../src/platform/abi.ts";
import { type Library, openLibrary } from "../src/platform/library.ts";
import { PLAN_RECORDS } from "../src/plan/layout.ts";

const MAGIC = 0x31545a52;
const KINDS = { case: 1, weights: 2, write: 3, cache: 4, plan: 5, step: 6, read: 7, weight: 8 } as const;

function bytesOf(view: ArrayBufferView, n: number): Uint8Array {
  return new Uint8Array(view.buffer, view.byteOffset, n);
}

/** A trace in the making: `begin` a case, then let one {@linkcode Library} user after another run over `library`. */
export class Trace implements Disposable {
  /** The library, whose calls are written down. */
  readonly library: Library;
  readonly #file: number;
  #nCases = 0;
  #bytes = 16;

  constructor(path: string) {
    this.#file = openSync(path, "w");
    writeSync(this.#file, new Uint8Array(16));
    this.library = this.#recording(openLibrary());
  }

  /** Cases so far. */
  get nCases(): number {
    return this.#nCases;
  }

  /** Bytes so far. */
  get nBytes(): number {
    return this.#bytes;
  }

  /** What follows is a case of its own: one weights handle, and the plan and cache opened last. */
  begin(name: string, bound: number): void {
    const text = new TextEncoder().encode(name);
    const payload = new Uint8Array(8 + text.length);
    new DataView(payload.buffer).setFloat64(0, bound, true);
    payload.set(text, 8);
    this.#nCases++;
    this.#put(KINDS.case, payload);
  }

  #put(kind: number, payload: Uint8Array, a = 0): void {
    const record = new Uint8Array(16 + ((payload.length + 7) & ~7));
    new Uint32Array(record.buffer, 0, 4).set([kind, payload.length, a, 0]);
    record.set(payload, 16);
    writeSync(this.#file, record);
    this.#bytes += record.length;
  }

  #shape(kind: number, id: number, row: number, nRows: number, nFloats: number): void {
    if (nRows === 0) return;
    this.#put(kind, new Uint8Array(Uint32Array.of(row, nRows, nFloats / nRows, 0).buffer), id);
  }

  #recording(library: Library): Library {
    const { native } = library;
    const recorded: Partial<Native> = {
      rz_weights_open: (engine, paths, nBytes, table, n) => {
        if (nBytes > 0) throw new Error("a trace holds the bytes of weights, not the paths of files");
        this.#put(KINDS.weights, bytesOf(table!, n * PLAN_RECORDS.rz_weight.size));
        return native.rz_weights_open(engine, paths, nBytes, table, n);
      },
      rz_weights_write: (weights, id, offset, bytes, n) => {
        if (offset !== 0) throw new Error("a trace has each weight in one piece");
        this.#put(KINDS.write, bytesOf(bytes!, n), id);
        return native.rz_weights_write(weights, id, offset, bytes, n);
      },
      rz_weights_read: (weights, id, row, nRows, out, cap) => {
        this.#shape(KINDS.weight, id, row, nRows, cap);
        return native.rz_weights_read(weights, id, row, nRows, out, cap);
      },
      rz_cache_open: (engine, options) => {
        this.#put(KINDS.cache, bytesOf(options!, STRUCTS.rz_cache_options.size));
        return native.rz_cache_open(engine, options);
      },
      rz_plan_open: (weights, plan, n, options) => {
        const { size } = STRUCTS.rz_plan_options;
        const both = new Uint8Array(size + n);
        both.set(bytesOf(options!, size));
        both.set(bytesOf(plan!, n), size);
        this.#put(KINDS.plan, both);
        return native.rz_plan_open(weights, plan, n, options);
      },
      rz_step_submit: (plan, cache, batch, n) => {
        this.#put(KINDS.step, bytesOf(batch!, n));
        return native.rz_step_submit(plan, cache, batch, n);
      },
      rz_step_read: (engine, ticket, value, row, nRows, out, cap) => {
        this.#shape(KINDS.read, value, row, nRows, cap);
        return native.rz_step_read(engine, ticket, value, row, nRows, out, cap);
      },
    };
    const all = Object.fromEntries(Object.keys(SYMBOLS).map((name) => [name, native[name as keyof Native]]));
    return { ...library, native: { ...all, ...recorded } as Native };
  }

  /** Writes the number of cases and closes the file. */
  [Symbol.dispose](): void {
    const header = new Uint8Array(16);
    new Uint32Array(header.buffer).set([MAGIC, 1, this.#nCases]);
    writeSync(this.#file, header, 0, 16, 0);
    closeSync(this.#file);
  }
}
