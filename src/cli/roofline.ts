/**
 * A roofline chart of decode speed as SVG: every token reads the weights once, so tokens a second are at most the
 * device's read rate by the bytes of a token. Left: that roof, and the models under it; right: the share of the read
 * rate that each one reaches, beside llama.cpp's where a row has it.
 */

/** One model's decode on a device. */
export interface RooflinePoint {
  readonly model: string;
  readonly dtype: string;
  readonly tokS: number;
  /** Bytes of weights (and keys and values) that a token reads, in GB (1e9). */
  readonly gbPerToken: number;
  /** llama.cpp's tokens a second on the same file and kind of device. */
  readonly peerTokS?: number;
}

/** The models of one device. */
export interface RooflineChart {
  readonly device: string;
  /** The device's measured plain read rate, GB/s. */
  readonly readGbS: number;
  readonly points: readonly RooflinePoint[];
}

/** Names of what a line of `realizar bench --json` or of bench/results may have. */
interface ResultLine {
  test?: string;
  tok_s?: number;
  model?: string;
  dtype?: string;
  device?: string;
  machine?: string;
  gb_s?: number | null;
  share_of_bandwidth?: number | null;
  read_gb_s?: number;
  read_gb_per_token?: number;
  llama_cpp_tok_s?: number | null;
  peer_tok_s?: number;
}

/** What a row says of decoding one sequence at depth 0; undefined for every other row. */
function pointOf(row: ResultLine): { device: string; readGbS: number; point: RooflinePoint } | undefined {
  if (!/^tg\d+$/.test(row.test ?? "") || row.tok_s === undefined || row.model === undefined) return undefined;
  const gbPerToken = row.read_gb_per_token ?? (typeof row.gb_s === "number" ? row.gb_s / row.tok_s : undefined);
  if (gbPerToken === undefined) return undefined;
  const share = row.share_of_bandwidth;
  const readGbS = row.read_gb_s ?? (typeof share === "number" ? row.tok_s * gbPerToken / share : undefined);
  if (readGbS === undefined) return undefined;
  const peer = row.llama_cpp_tok_s ?? row.peer_tok_s;
  const point = { model: row.model, dtype: row.dtype ?? "", tokS: row.tok_s, gbPerToken };
  const device = row.device ?? row.machine ?? "this machine";
  return { device, readGbS, point: typeof peer === "number" ? { ...point, peerTokS: peer } : point };
}

/** The charts of result rows, a device each; a later row of the same device and model replaces an earlier one. */
export function roofsOf(rows: readonly object[]): RooflineChart[] {
  const devices = new Map<string, { readGbS: number; points: Map<string, RooflinePoint> }>();
  for (const row of rows) {
    const found = pointOf(row as ResultLine);
    if (found === undefined) continue;
    const { device, readGbS, point } = found;
    const chart = devices.get(device) ?? { readGbS, points: new Map() };
    const key = `${point.model} ${point.dtype}`;
    chart.points.delete(key);
    chart.points.set(key, point);
    devices.set(device, { ...chart, readGbS });
  }
  return [...devices].map(([device, { readGbS, points }]) => {
    const sorted = [...points.values()].sort((a, b) => b.gbPerToken - a.gbPerToken);
    return { device, readGbS, points: sorted };
  });
}

const WIDTH = 960, PLOT = { left: 64, top: 56, width: 420, height: 260 };
const BARS = { left: 690, width: 210, row: 44, bar: 13 };
const STYLE = `text{font:13px system-ui,sans-serif;fill:#57606a}.title{font-size:15px;font-weight:600}
.grid{stroke:#57606a;stroke-opacity:.22}.roof{stroke:#57606a;stroke-width:1.5;stroke-dasharray:5 4;fill:none}
.ours{fill:#2f81f7}.peer{fill:#9a6700}.small{font-size:11px}
@media(prefers-color-scheme:dark){text{fill:#c9d1d9}.grid{stroke:#c9d1d9}.roof{stroke:#c9d1d9}.peer{fill:#b87d00}}`;

function escape(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;");
}

function text(x: number, y: number, content: string, more = ""): string {
  return `<text x="${round(x)}" y="${round(y)}"${more === "" ? "" : ` ${more}`}>${escape(content)}</text>`;
}

function round(x: number): number {
  return Math.round(x * 100) / 100;
}

/** 1, 2, 5 times powers of ten from `min` to `max`. */
function ticks(min: number, max: number): number[] {
  const out: number[] = [];
  for (let power = Math.floor(Math.log10(min)); power <= Math.log10(max); power++) {
    for (const k of [1, 2, 5]) {
      const value = k * 10 ** power;
      if (value >= min * 0.999 && value <= max * 1.001) out.push(value);
    }
  }
  return out;
}

/** A logarithmic axis that holds all values with room around them. */
function axis(values: readonly number[], from: number, to: number, room = 1.5) {
  const min = Math.min(...values) / room, max = Math.max(...values) * room;
  const at = (x: number) => from + (to - from) * Math.log(x / min) / Math.log(max / min);
  return { at, ticks: ticks(min, max) };
}

function share(tokS: number, { gbPerToken }: RooflinePoint, readGbS: number): number {
  return tokS * gbPerToken / readGbS;
}

function plot({ readGbS, points }: RooflineChart): string[] {
  const { left, top, width, height } = PLOT, bottom = top + height;
  const x = axis(points.map(({ gbPerToken }) => gbPerToken), left, left + width, 2.2);
  const reads = points.map(({ gbPerToken }) => gbPerToken);
  const ends = [Math.min(...reads) / 1.25, Math.max(...reads) * 1.25]; // of the roof
  const rates = [...points.flatMap((p) => [p.tokS, p.peerTokS ?? p.tokS]), ...ends.map((gb) => readGbS / gb)];
  const y = axis(rates, bottom, top);
  const out: string[] = [];
  for (const tick of x.ticks) {
    out.push(`<path class="grid" d="M${round(x.at(tick))} ${top}V${bottom}"/>`);
    out.push(text(x.at(tick), bottom + 18, `${tick}`, 'class="small" text-anchor="middle"'));
  }
  for (const tick of y.ticks) {
    out.push(`<path class="grid" d="M${left} ${round(y.at(tick))}H${left + width}"/>`);
    out.push(text(left - 8, y.at(tick) + 4, `${tick}`, 'class="small" text-anchor="end"'));
  }
  out.push(text(left + width / 2, bottom + 38, "GB read for a token", 'text-anchor="middle"'));
  out.push(text(left - 44, top - 12, "tokens a second"));
  const roof = ends.map((gb) => `${round(x.at(gb))} ${round(y.at(readGbS / gb))}`).join("L");
  out.push(`<path class="roof" d="M${roof}"/>`); // straight, on logarithmic axes
  for (const point of points) {
    const at = x.at(point.gbPerToken);
    if (point.peerTokS !== undefined) {
      out.push(`<circle class="peer" cx="${round(at)}" cy="${round(y.at(point.peerTokS))}" r="5"/>`);
    }
    out.push(`<circle class="ours" cx="${round(at)}" cy="${round(y.at(point.tokS))}" r="6"/>`);
    out.push(text(at - 10, y.at(point.tokS) + 4, point.model, 'class="small" text-anchor="end"'));
  }
  return out;
}

function bars({ readGbS, points }: RooflineChart): string[] {
  const { left, width, row, bar } = BARS;
  const out = [text(left, PLOT.top - 12, "share of the read rate")];
  out.push(text(left + width, PLOT.top - 4, "100 %", 'class="small" text-anchor="middle"'));
  out.push(`<path class="grid" d="M${left + width} ${PLOT.top}V${PLOT.top + row * points.length}"/>`);
  points.forEach((point, i) => {
    const top = PLOT.top + i * row;
    out.push(text(left - 10, top + 14, point.model, 'text-anchor="end"'));
    out.push(text(left - 10, top + 29, point.dtype, 'class="small" text-anchor="end"'));
    const both = [["ours", point.tokS], ["peer", point.peerTokS]] as const;
    both.forEach(([kind, tokS], k) => {
      if (tokS === undefined) return;
      const part = share(tokS, point, readGbS), y = top + 3 + k * (bar + 3), length = Math.min(part, 1.1) * width;
      out.push(`<rect class="${kind}" x="${left}" y="${y}" width="${round(length)}" height="${bar}" rx="2"/>`);
      const label = `${Math.round(100 * part)} %, ${Math.round(tokS)} tok/s`;
      // Inside a long bar there is no room behind it.
      const inside = length > 0.5 * width;
      const place = inside ? 'class="small" text-anchor="end" style="fill:#fff"' : 'class="small"';
      out.push(text(inside ? left + length - 5 : left + length + 5, y + 11, label, place));
    });
  });
  return out;
}

/** The charts below one another, as a whole SVG file that is readable on light and dark pages. */
export function rooflineSvg(charts: readonly RooflineChart[]): string {
  const heights = charts.map(({ points }) =>
    Math.max(PLOT.top + PLOT.height + 60, PLOT.top + BARS.row * points.length)
  );
  const total = heights.reduce((sum, n) => sum + n, 0);
  let top = 0;
  const groups = charts.map((chart, i) => {
    const head = text(20, 24, `${chart.device}: reads ${Math.round(chart.readGbS)} GB/s`, 'class="title"');
    const hasPeer = chart.points.some(({ peerTokS }) => peerTokS !== undefined);
    const legend = [["ours", "realizar"], ...hasPeer ? [["peer", "llama.cpp"]] : []].map(([kind, name], k) =>
      `<circle class="${kind}" cx="${WIDTH - 200 + 100 * k}" cy="20" r="6"/>${text(WIDTH - 188 + 100 * k, 24, name!)}`
    );
    const group = `<g transform="translate(0 ${top})">\n${
      [head, ...legend, ...plot(chart), ...bars(chart)].join("\n")
    }\n</g>`;
    top += heights[i]!;
    return group;
  });
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${total}" viewBox="0 0 ${WIDTH} ${total}">
<title>Decode speed under the roof of the read rate</title>
<style>${STYLE}</style>
${groups.join("\n")}
</svg>
`;
}
