/**
 * The page's Markdown, as JavaScript for the browser: text becomes a tree of plain data, and only `build` makes nodes
 * of it, by `createElement` and `createTextNode`. No text is ever read as HTML, links go to http, https and mailto
 * only, and images are links. A search that failed is not made again and the others are short, so that hostile text
 * takes linear time.
 */
export const MARKDOWN_SCRIPT: string = String.raw`
const PUNCTUATION = "\\!\"#$%&'()*+,-./:;<=>?@[]^_{|}~` + "`" + String.raw`";
const MARKS = [["**", "strong"], ["__", "strong"], ["~~", "del"], ["*", "em"], ["_", "em"]];
const DEPTH_MAX = 8;
const URL_MAX = 2000;

function safeUrl(url) {
  return /^(https?:\/\/|mailto:)[^\s<>"\\]+$/i.test(url) ? url : undefined;
}

function isSpace(text, i) {
  return i < 0 || i >= text.length || /\s/.test(text[i]);
}

function isWord(text, i) {
  return i >= 0 && i < text.length && /[\p{L}\p{N}]/u.test(text[i]);
}

/** Code between runs of backticks of one length; an unclosed run is text. */
function codeSpan(text, start, dead) {
  let end = start;
  while (text[end] === "\u0060") end++;
  const run = text.slice(start, end);
  for (let at = dead.has(run) ? -1 : text.indexOf(run, end); at >= 0; at = text.indexOf(run, at)) {
    let after = at;
    while (text[after] === "\u0060") after++;
    if (after - at === run.length) {
      const code = text.slice(end, at).replaceAll("\n", " ");
      const isPadded = code.startsWith(" ") && code.endsWith(" ") && code.trim() !== "";
      const trimmed = isPadded ? code.slice(1, -1) : code;
      return { node: { tag: "code", children: [trimmed] }, end: after };
    }
    at = after;
  }
  dead.add(run);
  return { node: run, end };
}

function marked(text, start, depth, dead) {
  for (const [mark, tag] of MARKS) {
    if (!text.startsWith(mark, start) || dead.has(mark)) continue;
    const from = start + mark.length;
    if (isSpace(text, from) || (mark[0] === "_" && isWord(text, start - 1))) continue;
    let at = text.indexOf(mark, from + 1);
    while (at >= 0) {
      const fits = !isSpace(text, at - 1) && !(mark[0] === "_" && isWord(text, at + mark.length));
      const isPart = mark.length === 1 && (text[at + 1] === mark || text[at - 1] === mark);
      if (fits && !isPart) break;
      at = text.indexOf(mark, at + (isPart && text[at + 1] === mark ? 2 : 1));
    }
    while (at >= 0 && mark.length === 2 && text[at + 2] === mark[0]) at++;
    if (at >= 0) {
      const children = inline(text.slice(from, at), depth + 1);
      return { node: { tag, children }, end: at + mark.length };
    }
    dead.add(mark);
  }
  return undefined;
}

/** [text](url "title"), and images, of which the text is shown. */
function link(text, start, depth) {
  const open = text[start] === "!" ? start + 1 : start;
  if (text[open] !== "[") return undefined;
  const length = text.slice(open, open + URL_MAX).indexOf("](");
  if (length < 0) return undefined;
  const middle = open + length;
  const label = text.slice(open + 1, middle);
  if (label.includes("[")) return undefined;
  let end = middle + 2, nOpen = 1;
  for (; end < text.length && end - middle < URL_MAX; end++) {
    if (text[end] === "(") nOpen++;
    else if (text[end] === ")" && --nOpen === 0) break;
  }
  if (text[end] !== ")" || nOpen !== 0) return undefined;
  const url = safeUrl(text.slice(middle + 2, end).trim().replace(/\s+"[^"]*"$/, ""));
  const children = inline(label || "image", depth + 1);
  return { node: url === undefined ? { tag: "span", children } : { tag: "a", href: url, children }, end: end + 1 };
}

function bareUrl(text, start) {
  if (!/^https?:\/\//.test(text.slice(start, start + 8)) || isWord(text, start - 1)) return undefined;
  const found = /^[^\s<>"\\]*/.exec(text.slice(start, start + URL_MAX))[0].replace(/[.,;:!?)'*_]{1,20}$/, "");
  const href = safeUrl(found);
  return href === undefined ? undefined : { node: { tag: "a", href, children: [found] }, end: start + found.length };
}

function span(text, i, depth, dead) {
  switch (text[i]) {
    case "\u0060": return codeSpan(text, i, dead);
    case "*": case "_": case "~": return marked(text, i, depth, dead);
    case "[": case "!": return link(text, i, depth);
    case "h": return bareUrl(text, i);
    case "\n": return { node: { tag: "br", children: [] }, end: i + 1 };
  }
  return undefined;
}

/** Pieces of one paragraph: strings, and { tag, children, href }. */
function inline(text, depth = 0) {
  const pieces = [], dead = new Set();
  let plain = "";
  const flush = () => {
    if (plain !== "") pieces.push(plain);
    plain = "";
  };
  for (let i = 0; i < text.length;) {
    if (text[i] === "\\" && PUNCTUATION.includes(text[i + 1] || " ")) {
      plain += text[i + 1];
      i += 2;
      continue;
    }
    const found = depth < DEPTH_MAX ? span(text, i, depth, dead) : undefined;
    if (found === undefined) plain += text[i++];
    else if (typeof found.node === "string") {
      plain += found.node;
      i = found.end;
    } else {
      flush();
      pieces.push(found.node);
      i = found.end;
    }
  }
  flush();
  return pieces;
}
`;
