/**
 * The assertions of @std/assert, by its names and signatures, over node:util: the suite needs no registry but npm's.
 * To test with the original, map "@std/assert" to "jsr:@std/assert@^1" in deno.json (the line stands there).
 */
import { inspect, isDeepStrictEqual } from "node:util";

/** What a failed assertion throws. */
export class AssertionError extends Error {
  override name = "AssertionError";
}

type AnyConstructor<T> = abstract new (...args: never[]) => T;

function show(value: unknown): string {
  return inspect(value, { depth: 8, maxArrayLength: 100, maxStringLength: 2000, breakLength: 110 });
}

function refuse(what: string, msg: string | undefined): never {
  throw new AssertionError(msg === undefined || msg === "" ? what : `${what}: ${msg}`);
}

/** Where two number arrays part, so that a failure in a million values stays readable. */
function firstDifference(actual: unknown, expected: unknown): string {
  if (!ArrayBuffer.isView(actual) || !ArrayBuffer.isView(expected)) return "";
  if (actual instanceof DataView || expected instanceof DataView) return "";
  const [a, e] = [actual, expected] as unknown as ArrayLike<number>[];
  if (a!.length !== e!.length) return `\n  lengths: ${a!.length} and ${e!.length}`;
  for (let i = 0; i < a!.length; i++) {
    if (!Object.is(a![i], e![i])) return `\n  first difference at [${i}]: ${a![i]} and ${e![i]}`;
  }
  return "";
}

function compare(relation: string, holds: boolean, actual: unknown, expected: unknown, msg?: string): void {
  if (!holds) refuse(`expected ${show(actual)} ${relation} ${show(expected)}`, msg);
}

/** True when both are deeply and strictly equal. */
export function equal(a: unknown, b: unknown): boolean {
  return isDeepStrictEqual(a, b);
}

/** `expr` is truthy. */
export function assert(expr: unknown, msg = ""): asserts expr {
  if (!expr) throw new AssertionError(msg === "" ? "expected a truthy value" : msg);
}

/** `expr` is falsy. */
export function assertFalse(expr: unknown, msg = ""): void {
  if (expr) throw new AssertionError(msg === "" ? `expected a falsy value, got ${show(expr)}` : msg);
}

/** Deeply and strictly equal. */
export function assertEquals<T>(actual: T, expected: T, msg?: string): void {
  if (isDeepStrictEqual(actual, expected)) return;
  const where = firstDifference(actual, expected);
  refuse(`values are not equal${where}\n  actual:   ${show(actual)}\n  expected: ${show(expected)}`, msg);
}

/** Not deeply equal. */
export function assertNotEquals<T>(actual: T, expected: T, msg?: string): void {
  if (isDeepStrictEqual(actual, expected)) refuse(`expected a value other than ${show(expected)}`, msg);
}

/** `Object.is` equal. */
export function assertStrictEquals<T>(actual: unknown, expected: T, msg?: string): asserts actual is T {
  compare("to be the same as", Object.is(actual, expected), actual, expected, msg);
}

/** Not `Object.is` equal. */
export function assertNotStrictEquals<T>(actual: T, expected: T, msg?: string): void {
  compare("not to be the same as", !Object.is(actual, expected), actual, expected, msg);
}

/** Within `tolerance` (default 1e-7 of the expected magnitude, at least 1e-7). NaN is equal to NaN only. */
export function assertAlmostEquals(actual: number, expected: number, tolerance?: number, msg?: string): void {
  if (Object.is(actual, expected)) return;
  const allowed = tolerance ?? (Number.isFinite(expected) ? Math.max(1e-7, Math.abs(expected) * 1e-7) : 1e-7);
  const delta = Math.abs(expected - actual);
  if (!(delta <= allowed)) refuse(`expected ${actual} within ${allowed} of ${expected}, off by ${delta}`, msg);
}

/** Neither null nor undefined. */
export function assertExists<T>(actual: T, msg?: string): asserts actual is NonNullable<T> {
  if (actual === undefined || actual === null) refuse(`expected a value, got ${actual}`, msg);
}

/** `actual > expected`. */
export function assertGreater<T>(actual: T, expected: T, msg?: string): void {
  compare(">", actual > expected, actual, expected, msg);
}

/** `actual >= expected`. */
export function assertGreaterOrEqual<T>(actual: T, expected: T, msg?: string): void {
  compare(">=", actual >= expected, actual, expected, msg);
}

/** `actual < expected`. */
export function assertLess<T>(actual: T, expected: T, msg?: string): void {
  compare("<", actual < expected, actual, expected, msg);
}

/** `actual <= expected`. */
export function assertLessOrEqual<T>(actual: T, expected: T, msg?: string): void {
  compare("<=", actual <= expected, actual, expected, msg);
}

/** The string contains `expected`. */
export function assertStringIncludes(actual: string, expected: string, msg?: string): void {
  compare("to include", actual.includes(expected), actual, expected, msg);
}

/** The string matches. */
export function assertMatch(actual: string, expected: RegExp, msg?: string): void {
  compare("to match", expected.test(actual), actual, expected, msg);
}

/** The string does not match. */
export function assertNotMatch(actual: string, expected: RegExp, msg?: string): void {
  compare("not to match", !expected.test(actual), actual, expected, msg);
}

/** Every element of `expected` is deeply equal to one of `actual`. */
export function assertArrayIncludes<T>(actual: ArrayLike<T>, expected: ArrayLike<T>, msg?: string): void {
  const missing = Array.from(expected).filter((e) => !Array.from(actual).some((a) => isDeepStrictEqual(a, e)));
  if (missing.length > 0) refuse(`${show(actual)} lacks ${show(missing)}`, msg);
}

function matches(actual: unknown, expected: unknown): boolean {
  if (typeof expected !== "object" || expected === null || Object.getPrototypeOf(expected) !== Object.prototype) {
    return isDeepStrictEqual(actual, expected);
  }
  if (typeof actual !== "object" || actual === null) return false;
  return Object.entries(expected).every(([key, value]) => matches((actual as Record<string, unknown>)[key], value));
}

/** Every property of `expected` is in `actual`, deeply. */
export function assertObjectMatch(
  actual: Record<PropertyKey, unknown>,
  expected: Record<PropertyKey, unknown>,
  msg?: string,
): void {
  compare("to match", matches(actual, expected), actual, expected, msg);
}

/** An instance of the class. */
export function assertInstanceOf<T>(
  actual: unknown,
  expectedType: AnyConstructor<T>,
  msg?: string,
): asserts actual is T {
  if (!(actual instanceof expectedType)) refuse(`expected a ${expectedType.name}, got ${show(actual)}`, msg);
}

/** Not an instance of the class. */
export function assertNotInstanceOf<T>(actual: unknown, unexpectedType: AnyConstructor<T>, msg?: string): void {
  if (actual instanceof unexpectedType) refuse(`expected no ${unexpectedType.name}, got ${show(actual)}`, msg);
}

/** An Error, of the class, whose message contains or matches. */
export function assertIsError<E extends Error = Error>(
  error: unknown,
  ErrorClass?: AnyConstructor<E>,
  msgMatches?: string | RegExp,
  msg?: string,
): asserts error is E {
  if (!(error instanceof Error)) refuse(`expected an Error, got ${show(error)}`, msg);
  if (ErrorClass !== undefined && !(error instanceof ErrorClass)) {
    refuse(`expected a ${ErrorClass.name}, got ${show(error)}`, msg);
  }
  if (msgMatches === undefined) return;
  const found = typeof msgMatches === "string" ? error.message.includes(msgMatches) : msgMatches.test(error.message);
  if (!found) refuse(`expected a message with ${show(msgMatches)}, got ${show(error.message)}`, msg);
}

function checkThrown(error: unknown, expectation: readonly unknown[]): unknown {
  if (typeof expectation[0] !== "function") return error;
  const [ErrorClass, includes, msg] = expectation as [AnyConstructor<Error>, string?, string?];
  assertIsError(error, ErrorClass, includes, msg);
  return error;
}

function messageOf(expectation: readonly unknown[]): string | undefined {
  return (typeof expectation[0] === "function" ? expectation[2] : expectation[0]) as string | undefined;
}

/** The call throws (that error, with that text in its message). Returns what was thrown. */
export function assertThrows(fn: () => unknown, msg?: string): unknown;
export function assertThrows<E extends Error = Error>(
  fn: () => unknown,
  ErrorClass: AnyConstructor<E>,
  msgIncludes?: string,
  msg?: string,
): E;
export function assertThrows(fn: () => unknown, ...expectation: unknown[]): unknown {
  let value: unknown;
  try {
    value = fn();
  } catch (error) {
    return checkThrown(error, expectation);
  }
  return refuse(`expected the function to throw; it returned ${show(value)}`, messageOf(expectation));
}

/** The promise rejects (with that error, with that text in its message). Resolves to what it was rejected with. */
export function assertRejects(fn: () => PromiseLike<unknown>, msg?: string): Promise<unknown>;
export function assertRejects<E extends Error = Error>(
  fn: () => PromiseLike<unknown>,
  ErrorClass: AnyConstructor<E>,
  msgIncludes?: string,
  msg?: string,
): Promise<E>;
export async function assertRejects(fn: () => PromiseLike<unknown>, ...expectation: unknown[]): Promise<unknown> {
  let promise: PromiseLike<unknown>;
  try {
    promise = fn();
  } catch (error) {
    return refuse(`expected a rejected promise; the function threw ${show(error)}`, messageOf(expectation));
  }
  let value: unknown;
  try {
    value = await promise;
  } catch (error) {
    return checkThrown(error, expectation);
  }
  return refuse(`expected the promise to reject; it resolved to ${show(value)}`, messageOf(expectation));
}

/** Fails. */
export function fail(msg?: string): never {
  return refuse("failed", msg);
}

/** Fails: this line must not be reached. */
export function unreachable(msg?: string): never {
  return refuse("unreachable", msg);
}

/** Fails: not written yet. */
export function unimplemented(msg?: string): never {
  return refuse("unimplemented", msg);
}
