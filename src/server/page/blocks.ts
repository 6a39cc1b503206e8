/** The blocks of the page's Markdown, as JavaScript for the browser: paragraphs, lists, code, tables; then nodes. */
export const BLOCKS_SCRIPT: string = String.raw`
const FENCE = /^ {0,3}(\u0060{3,}|~{3,})\s*([\w+#.-]{0,40})[^\u0060]*$/;
const HEADING = /^(#{1,6})\s+(.*)$/;
const RULE = /^ {0,3}([-*_])(?: *\1){2,} *$/;
const ITEM = /^( {0,12})([-*+]|\d{1,9}[.)])( +|$)(.*)$/;
const QUOTE = /^ {0,3}> ?/;
/** Longer lines are plain text: the patterns above may look at a line twice. */
const LINE_MAX = 1000;
const TABLE_RULE = /^ *\|? *:?-+:? *(?:\| *:?-+:? *)*\|? *$/;

function startsBlock(line) {
  if (line.length < LINE_MAX && FENCE.test(line)) return true;
  return [HEADING, RULE, QUOTE, ITEM].some((pattern) => pattern.test(line));
}

function cellsOf(line) {
  const cells = line.trim().replace(/^\|/, "").replace(/\|$/, "").split("|");
  return cells.slice(0, 64).map((cell) => cell.trim());
}

function isTable(lines, i) {
  const rule = lines[i + 1];
  return rule !== undefined && rule.length < LINE_MAX && lines[i].includes("|") && TABLE_RULE.test(rule);
}

function element(tag, children, more) {
  return Object.assign({ tag, children }, more);
}

function fenced(lines, start, [, fence, language]) {
  let end = start + 1;
  const closing = new RegExp("^ {0,3}" + fence[0] + "{" + fence.length + ",} *$");
  while (end < lines.length && !closing.test(lines[end])) end++;
  const code = lines.slice(start + 1, end).join("\n");
  return { block: { tag: "pre", language, children: [element("code", [code])] }, end: Math.min(end + 1, lines.length) };
}

function table(lines, start) {
  const row = (line, tag) => element("tr", cellsOf(line).map((cell) => element(tag, inline(cell))));
  let end = start + 2;
  while (end < lines.length && lines[end].includes("|")) end++;
  const body = lines.slice(start + 2, end).map((line) => row(line, "td"));
  const children = [element("thead", [row(lines[start], "th")]), element("tbody", body)];
  return { block: element("div", [element("table", children)], { scrolls: true }), end };
}

function quote(lines, start, depth) {
  let end = start;
  while (end < lines.length && QUOTE.test(lines[end])) end++;
  const inner = lines.slice(start, end).map((line) => line.replace(QUOTE, ""));
  return { block: element("blockquote", blocks(inner, depth + 1).map(({ node }) => node)), end };
}

/** The lines of one item: what follows its mark, and what is indented under it. */
function itemEnd(lines, start, indent) {
  let end = start + 1;
  for (; end < lines.length; end++) {
    const line = lines[end];
    if (line.trim() === "") {
      const next = lines[end + 1];
      if (next === undefined || !/^ /.test(next) || next.search(/\S/) < indent) break;
      continue;
    }
    const isIndented = line.search(/\S/) >= indent;
    if (!isIndented && startsBlock(line)) break;
  }
  return end;
}

function list(lines, start, depth) {
  const [, outer, mark] = ITEM.exec(lines[start]);
  const isOrdered = /\d/.test(mark);
  const items = [];
  let i = start;
  while (i < lines.length) {
    const found = ITEM.exec(lines[i]);
    if (found === null || RULE.test(lines[i]) || /\d/.test(found[2]) !== isOrdered) break;
    if (found[1].length > outer.length + 3) break;
    const indent = found[1].length + 2;
    const end = itemEnd(lines, i, indent);
    const rest = lines.slice(i + 1, end).map((line) => line.replace(new RegExp("^ {0," + (indent + 1) + "}"), ""));
    const inner = blocks([found[4], ...rest], depth + 1).map(({ node }) => node);
    items.push(element("li", inner[0] && inner[0].tag === "p" ? [...inner[0].children, ...inner.slice(1)] : inner));
    i = end;
    while (i + 1 < lines.length && lines[i].trim() === "" && ITEM.test(lines[i + 1])) i++;
  }
  const first = isOrdered ? { start: parseInt(mark, 10) } : {};
  return { block: element(isOrdered ? "ol" : "ul", items, first), end: i };
}

function paragraph(lines, start) {
  let end = start + 1;
  while (end < lines.length && lines[end].trim() !== "" && !startsBlock(lines[end]) && !isTable(lines, end)) end++;
  return { block: element("p", inline(lines.slice(start, end).join("\n"))), end };
}

function blockAt(lines, i, depth) {
  const line = lines[i];
  const fence = line.length < LINE_MAX ? FENCE.exec(line) : null;
  if (fence !== null) return fenced(lines, i, fence);
  const heading = HEADING.exec(line);
  if (heading !== null) return { block: element("h" + heading[1].length, inline(heading[2])), end: i + 1 };
  if (RULE.test(line)) return { block: element("hr", []), end: i + 1 };
  if (depth < DEPTH_MAX && QUOTE.test(line)) return quote(lines, i, depth);
  if (depth < DEPTH_MAX && ITEM.test(line)) return list(lines, i, depth);
  if (isTable(lines, i)) return table(lines, i);
  return paragraph(lines, i);
}

/** Blocks as { node, source }: a block whose source did not change need not be built again. */
function blocks(lines, depth = 0) {
  const found = [];
  for (let i = 0; i < lines.length;) {
    if (lines[i].trim() === "") {
      i++;
      continue;
    }
    const { block, end } = blockAt(lines, i, depth);
    found.push({ node: block, source: lines.slice(i, end).join("\n") });
    i = end;
  }
  return found;
}

function parseMarkdown(text) {
  return blocks(text.replaceAll("\r\n", "\n").replaceAll("\t", "    ").split("\n"));
}

/** A node of the document for a piece of the tree. */
function build(piece) {
  if (typeof piece === "string") return document.createTextNode(piece);
  const node = document.createElement(piece.tag);
  if (piece.href !== undefined) {
    node.href = piece.href;
    node.target = "_blank";
    node.rel = "noopener noreferrer nofollow";
  }
  if (piece.start !== undefined) node.start = piece.start;
  if (piece.scrolls) node.className = "scrolls";
  node.append(...piece.children.map(build));
  return piece.tag === "pre" ? codeFrame(node, piece.language) : node;
}

/** Code with its language and a button that copies it. */
function codeFrame(pre, language) {
  pre.tabIndex = 0;
  const frame = document.createElement("div"), bar = document.createElement("div");
  const name = document.createElement("span");
  frame.className = "code";
  bar.className = "bar";
  name.textContent = language || "";
  bar.append(name, actionButton("Copy", () => copyText(pre.textContent), "Copy code"));
  frame.append(bar, pre);
  return frame;
}

/** Shows Markdown in an element; blocks at the beginning that are as before stay as they are. */
function showMarkdown(host, text) {
  const next = parseMarkdown(text), shown = host.shown || [];
  let same = 0;
  while (same < next.length && same < shown.length && next[same].source === shown[same]) same++;
  while (host.childNodes.length > same) host.lastChild.remove();
  for (const { node } of next.slice(same)) host.append(build(node));
  host.shown = next.map(({ source }) => source);
}
`;
