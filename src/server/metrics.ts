/** Counters, gauges and histograms, and their Prometheus text. */

/** Labels of one series. */
export type Labels = Readonly<Record<string, string>>;

/** What a family of metrics is. */
export interface FamilySource {
  /** How Prometheus reads it. */
  type: "counter" | "gauge" | "histogram";
  /** Its name, unit included. */
  name: string;
  /** What it means, one line. */
  help: string;
  /** Upper bounds of a histogram's buckets, ascending. */
  buckets?: readonly number[];
}

function escaped(value: string): string {
  return value.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n");
}

function labelText(labels: Labels): string {
  return Object.entries(labels).map(([name, value]) => `${name}="${escaped(value)}"`).join(",");
}

/** The part of a line before its value. */
function head(name: string, labels: string): string {
  return labels === "" ? `${name} ` : `${name}{${labels}} `;
}

/** One number with its labels. */
export class NumberSeries {
  readonly #head: string;
  /** As it is now. */
  value = 0;

  /** `labels` as they stand between the braces. */
  constructor(name: string, labels: string) {
    this.#head = head(name, labels);
  }

  /** Its line of the text format. */
  text(): string {
    return `${this.#head}${this.value}\n`;
  }
}

/** One histogram with its labels. */
export class HistogramSeries {
  readonly #bounds: readonly number[];
  /** Observations in each bucket alone; what is above the last bound is in `#n` only. */
  readonly #counts: Float64Array;
  /** Beginnings of its lines: written at each scrape, made once. */
  readonly #heads: readonly string[];
  #sum = 0;
  #n = 0;

  /** `labels` as they stand between the braces. */
  constructor(name: string, labels: string, bounds: readonly number[]) {
    this.#bounds = bounds;
    this.#counts = new Float64Array(bounds.length);
    const comma = labels === "" ? "" : ",";
    const buckets = [...bounds.map(String), "+Inf"].map((le) => head(`${name}_bucket`, `${labels}${comma}le="${le}"`));
    this.#heads = [...buckets, head(`${name}_sum`, labels), head(`${name}_count`, labels)];
  }

  /** Takes a value in, `times` times. */
  observe(value: number, times = 1): void {
    let bucket = 0;
    while (bucket < this.#bounds.length && value > this.#bounds[bucket]!) bucket++;
    if (bucket < this.#bounds.length) this.#counts[bucket]! += times;
    this.#sum += value * times;
    this.#n += times;
  }

  /** Its lines of the text format. */
  text(): string {
    let text = "", below = 0;
    for (let i = 0; i < this.#bounds.length; i++) {
      below += this.#counts[i]!;
      text += `${this.#heads[i]}${below}\n`;
    }
    const values = [this.#n, this.#sum, this.#n];
    for (let i = 0; i < values.length; i++) text += `${this.#heads[this.#bounds.length + i]}${values[i]}\n`;
    return text;
  }
}

/** A family of metrics: one name, one meaning, a series for each set of labels. */
interface Family {
  source: FamilySource;
  series: Map<string, NumberSeries | HistogramSeries>;
}

/** All metrics of one server. */
export class Metrics {
  readonly #families = new Map<string, Family>();

  /** Every family is named before its numbers come. */
  constructor(families: Iterable<FamilySource>) {
    for (const source of families) this.#families.set(source.name, { source, series: new Map() });
  }

  /** The series of a counter or gauge, made when it is asked for the first time. */
  number(name: string, labels: Labels = {}): NumberSeries {
    return this.#series(name, labels) as NumberSeries;
  }

  /** The same of a histogram: who observes often keeps it. */
  histogram(name: string, labels: Labels = {}): HistogramSeries {
    return this.#series(name, labels) as HistogramSeries;
  }

  /** Adds to a counter. */
  add(name: string, labels: Labels, n = 1): void {
    this.number(name, labels).value += n;
  }

  /** Sets a gauge. */
  set(name: string, labels: Labels, value: number): void {
    this.number(name, labels).value = value;
  }

  /** Puts a value into a histogram. */
  observe(name: string, labels: Labels, value: number): void {
    this.histogram(name, labels).observe(value);
  }

  /** The text format that Prometheus scrapes; families without numbers are left out. */
  text(): string {
    let text = "";
    for (const { source: { name, help, type }, series } of this.#families.values()) {
      if (series.size === 0) continue;
      text += `# HELP ${name} ${help}\n# TYPE ${name} ${type}\n`;
      for (const one of series.values()) text += one.text();
    }
    return text;
  }

  #series(name: string, labels: Labels): NumberSeries | HistogramSeries {
    const { source, series } = this.#families.get(name)!;
    const key = labelText(labels);
    let one = series.get(key);
    if (one === undefined) {
      const { type, buckets = [] } = source;
      one = type === "histogram" ? new HistogramSeries(name, key, buckets) : new NumberSeries(name, key);
      series.set(key, one);
    }
    return one;
  }
}
