/**
 * Chat templates, which are programs that come with a model file: rendered by `@huggingface/jinja` the way transformers
 * renders them, under budgets, because nobody has read them.
 */
import { Environment, Interpreter, parse, tokenize } from "@huggingface/jinja";
import { RealizarError } from "../errors.ts";
import { evaluateStrip, type TemplateValue, writeLikePython } from "./python_values.ts";
import { strftime } from "./strftime.ts";

/** What a rendering may use; more is `TEMPLATE`. Real templates stay far below. */
export const TEMPLATE_BUDGET = {
  /** Characters of the template. */
  templateLength: 1 << 19,
  /** Evaluated nodes. */
  steps: 2_000_000,
  /** Nodes inside each other. */
  depth: 600,
  /** Elements of one `range()` or list. */
  elements: 100_000,
  /** Characters of any one text, the result included. */
  textLength: 1 << 24,
} as const;

/** What is used of the library, whose own types do not resolve under every compiler. */
interface JinjaInterpreter {
  evaluate(statement: unknown, environment: unknown): TemplateValue;
  run(program: unknown): TemplateValue;
}
interface JinjaEnvironment {
  set(name: string, value: unknown): unknown;
}
const NewInterpreter = Interpreter as unknown as new (environment: JinjaEnvironment) => JinjaInterpreter;
const NewEnvironment = Environment as unknown as new () => JinjaEnvironment;

/** An interpreter that counts: everything it evaluates passes through its `evaluate`. */
function budgetedInterpreter(environment: JinjaEnvironment): JinjaInterpreter {
  const interpreter = new NewInterpreter(environment);
  const evaluate = interpreter.evaluate.bind(interpreter);
  let steps = 0;
  let depth = 0;
  interpreter.evaluate = (statement, scope) => {
    if (++steps > TEMPLATE_BUDGET.steps) over("evaluates more nodes than", TEMPLATE_BUDGET.steps);
    if (++depth > TEMPLATE_BUDGET.depth) over("nests deeper than", TEMPLATE_BUDGET.depth);
    let result: TemplateValue;
    try {
      result = evaluateStrip(statement, (node) => interpreter.evaluate(node, scope)) ?? evaluate(statement, scope);
    } finally {
      depth--;
    }
    // Some filters answer with JavaScript's undefined, for instance `first` of an empty list.
    if (result === undefined) return result;
    checkSize(result.value);
    writeLikePython(result);
    return result;
  };
  return interpreter;
}

function checkSize(value: unknown): void {
  if (typeof value === "string" && value.length > TEMPLATE_BUDGET.textLength) {
    over("makes a text of more characters than", TEMPLATE_BUDGET.textLength);
  }
  if (Array.isArray(value) && value.length > TEMPLATE_BUDGET.elements) {
    over("makes a list of more elements than", TEMPLATE_BUDGET.elements);
  }
}

function over(what: string, limit: number): never {
  throw new RealizarError("TEMPLATE", `the chat template ${what} ${limit}`);
}

/** Python's `range`, refused where it would be long. */
function range(first: number, second?: number, step = 1): number[] {
  const [start, stop] = second === undefined ? [0, first] : [first, second];
  if (![start, stop, step].every(Number.isInteger)) throw new Error("range() takes whole numbers");
  if (step === 0) throw new Error("range() step must not be zero");
  const count = Math.max(0, Math.ceil((stop - start) / step));
  if (count > TEMPLATE_BUDGET.elements) over("calls range() for more elements than", TEMPLATE_BUDGET.elements);
  return Array.from({ length: count }, (_, i) => start + i * step);
}

function environmentWith(variables: Readonly<Record<string, unknown>>): JinjaEnvironment {
  const environment = new NewEnvironment();
  const globals = {
    true: true,
    false: false,
    none: null,
    True: true,
    False: false,
    None: null,
    range,
    raise_exception: (message: unknown): never => {
      throw new Error(String(message));
    },
    strftime_now: (format: unknown): string => strftime(new Date(), String(format)),
  };
  for (const [name, value] of Object.entries({ ...globals, ...variables })) environment.set(name, value);
  return environment;
}

/** Anything that parsing or rendering threw, as `TEMPLATE`; stack overflows and out-of-memory strings included. */
function asTemplateError(error: unknown, doing: string): RealizarError {
  if (error instanceof RealizarError) return error;
  const message = error instanceof Error ? error.message : String(error);
  return new RealizarError("TEMPLATE", `${doing}: ${message}`, { cause: error });
}

/** A parsed template. */
export class ChatTemplate {
  readonly #program: unknown;

  /** Parses a template; throws `TEMPLATE` when it is too long or not a template. */
  constructor(source: string) {
    if (source.length > TEMPLATE_BUDGET.templateLength) {
      over("has more characters than", TEMPLATE_BUDGET.templateLength);
    }
    try {
      this.#program = parse(tokenize(source, { lstrip_blocks: true, trim_blocks: true }));
    } catch (error) {
      throw asTemplateError(error, "the chat template cannot be parsed");
    }
  }

  /**
   * The text for these variables (`messages`, `add_generation_prompt`, `bos_token`, ...), which are plain data. Throws
   * `TEMPLATE` for what the template raises itself, for what it does wrong, and when it goes over a budget.
   */
  render(variables: Readonly<Record<string, unknown>>): string {
    try {
      return String(budgetedInterpreter(environmentWith(variables)).run(this.#program).value);
    } catch (error) {
      throw asTemplateError(error, "the chat template failed");
    }
  }
}
