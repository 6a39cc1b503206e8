/** The page's style sheet. */
export const STYLE: string = String.raw`
:root {
  color-scheme: light dark;
  --paper: light-dark(#fbfaf7, #171614);
  --raised: light-dark(#f1efe9, #22201d);
  --line: light-dark(#dedad0, #37342f);
  --ink: light-dark(#1f1d1a, #e9e5dc);
  --soft: light-dark(#6a655b, #a19a8d);
  --accent: light-dark(#0b6257, #63c7b6);
  --on-accent: light-dark(#ffffff, #0d1f1c);
  --alarm: light-dark(#a12f21, #f0968a);
  --sans: ui-sans-serif, system-ui, -apple-system, "Segoe UI", "Helvetica Neue", sans-serif;
  --serif: Charter, "Bitstream Charter", "Iowan Old Style", "Source Serif 4", Georgia, "DejaVu Serif", serif;
  --mono: ui-monospace, "SF Mono", "Cascadia Mono", Menlo, "DejaVu Sans Mono", monospace;
}
:root[data-theme="light"] { color-scheme: light; }
:root[data-theme="dark"] { color-scheme: dark; }
* { box-sizing: border-box; }
html, body { height: 100%; margin: 0; }
body {
  display: grid; grid-template-rows: auto minmax(0, 1fr) auto; height: 100dvh;
  background: var(--paper); color: var(--ink); font: 1rem/1.55 var(--sans);
}
button, select, input, textarea { font: inherit; color: inherit; }
button {
  border: 1px solid transparent; border-radius: .5rem; background: none; padding: .35rem .7rem; cursor: pointer;
}
button:hover { background: var(--raised); }
button.main { background: var(--accent); color: var(--on-accent); }
button.main:hover { filter: brightness(1.1); }
button:disabled { opacity: .45; cursor: default; }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
header, main > div, footer > form, footer > p { width: 100%; max-width: 46rem; margin-inline: auto; }
header { display: flex; align-items: center; gap: .5rem; padding: .6rem 1rem; }
header h1 { margin: 0 auto 0 0; font: 500 1.15rem/1 var(--serif); letter-spacing: -.01em; }
header h1 small { margin-left: .6rem; color: var(--soft); font: 400 .8rem/1 var(--sans); letter-spacing: 0; }
header button { color: var(--soft); font-size: .9rem; }
header select { max-width: 14rem; border: 0; background: none; color: var(--soft); font-size: .85rem; }
main { overflow-y: auto; overscroll-behavior: contain; scrollbar-gutter: stable both-edges; }
main > div { padding: 1rem 1rem 2rem; }
article { margin: 0 0 1.3rem; overflow-wrap: anywhere; }
article.user > .text {
  width: fit-content; max-width: 85%; margin-left: auto; padding: .55rem .9rem; border-radius: 1.1rem;
  background: var(--raised); white-space: pre-wrap;
}
article.user .actions { justify-content: flex-end; }
article.assistant > .text { font: 1.09rem/1.62 var(--serif); }
article.writing > .text > :last-child:not(.code)::after {
  content: ""; display: inline-block; width: .45em; height: 1em; margin-left: .15em; vertical-align: -.12em;
  background: var(--accent); animation: blink 1.1s steps(2, jump-none) infinite;
}
@keyframes blink { to { opacity: 0; } }
.text > :first-child { margin-top: 0; }
.text > :last-child { margin-bottom: 0; }
.text p, .text ul, .text ol, .text blockquote, .text .scrolls, .text .code { margin: 0 0 .85em; }
.text h1, .text h2, .text h3, .text h4, .text h5, .text h6 { margin: 1.3em 0 .5em; font: 600 1.05em/1.3 var(--sans); }
.text h1 { font-size: 1.3em; }
.text h2 { font-size: 1.16em; }
.text ul, .text ol { padding-left: 1.5em; }
.text li { margin: .2em 0; }
.text a { color: var(--accent); text-underline-offset: .15em; }
.text blockquote { margin-inline: 0; padding-left: 1em; border-left: 2px solid var(--line); color: var(--soft); }
.text hr { border: 0; border-top: 1px solid var(--line); margin: 1.5em 0; }
.text code { font: .86em/1.5 var(--mono); background: var(--raised); border-radius: .3em; padding: .12em .3em; }
.code { border: 1px solid var(--line); border-radius: .6rem; overflow: hidden; }
.code .bar {
  display: flex; justify-content: space-between; align-items: center; padding: .1rem .3rem .1rem .8rem;
  background: var(--raised); color: var(--soft); font: .78rem/1.6 var(--sans);
}
.code pre { margin: 0; padding: .7rem .8rem; overflow-x: auto; }
.code pre code { background: none; padding: 0; overflow-wrap: normal; }
.scrolls { overflow-x: auto; }
table { border-collapse: collapse; font: .92rem/1.45 var(--sans); }
th, td { padding: .3rem .7rem .3rem 0; text-align: left; border-bottom: 1px solid var(--line); vertical-align: top; }
details.reasoning { margin: 0 0 .8em; color: var(--soft); font-size: .92rem; }
details.reasoning > div { white-space: pre-wrap; padding: .4rem 0 0 1rem; border-left: 2px solid var(--line); }
summary { cursor: pointer; }
.failed { color: var(--alarm); }
.actions {
  display: flex; flex-wrap: wrap; align-items: center; gap: .1rem; margin: .35rem -.5rem 0; color: var(--soft);
  font-size: .8rem; font-variant-numeric: tabular-nums;
}
.actions button, .code .bar button { padding: .15rem .5rem; color: var(--soft); font-size: .8rem; }
.actions button:hover { color: var(--ink); }
.actions output:not(:empty) { margin: 0 .4rem 0 .5rem; }
@media (hover: hover) {
  .actions button { opacity: 0; transition: opacity .12s; }
  article:hover .actions button, article:last-of-type .actions button, .actions button:focus-visible { opacity: 1; }
}
.empty { margin-top: 22vh; text-align: center; color: var(--soft); font: 1.35rem/1.5 var(--serif); }
footer { padding: 0 1rem max(.5rem, env(safe-area-inset-bottom)); }
footer form {
  display: flex; align-items: flex-end; gap: .4rem; padding: .4rem .4rem .4rem .9rem;
  border: 1px solid var(--line); border-radius: 1.2rem; background: light-dark(#fff, #1d1b19);
}
footer form:focus-within { border-color: var(--accent); }
footer textarea {
  flex: 1; min-width: 0; max-height: 40dvh; padding: .35rem 0; border: 0; resize: none; background: none;
  field-sizing: content;
}
footer textarea:focus-visible { outline: 0; }
footer form button { border-radius: .9rem; }
footer p {
  display: flex; justify-content: space-between; gap: 1rem; min-height: 1.3rem; margin: .35rem auto 0; padding: 0 .3rem;
  color: var(--soft); font-size: .76rem; font-variant-numeric: tabular-nums;
}
article textarea {
  width: 100%; min-height: 5rem; padding: .6rem .9rem; border: 1px solid var(--line); border-radius: .8rem;
  background: none; resize: vertical; field-sizing: content;
}
dialog {
  width: min(30rem, 100vw - 2rem); max-height: calc(100dvh - 2rem); padding: 1.2rem 1.4rem;
  border: 1px solid var(--line);
  border-radius: 1rem; background: var(--paper); color: var(--ink);
}
dialog::backdrop { background: rgb(0 0 0 / .35); }
dialog h2 { margin: 0 0 .8rem; font: 500 1.15rem/1 var(--serif); }
dialog label { display: block; margin: 0 0 .8rem; color: var(--soft); font-size: .85rem; }
dialog .grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(7.5rem, 1fr)); gap: 0 .8rem; }
dialog input, dialog select, dialog textarea {
  display: block; width: 100%; margin-top: .2rem; padding: .4rem .6rem; border: 1px solid var(--line);
  border-radius: .5rem; background: none; color: var(--ink); font-size: 1rem;
}
dialog .end { display: flex; justify-content: flex-end; gap: .4rem; }
.hidden {
  position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap;
}
@media (max-width: 34rem) {
  header { padding: .4rem .7rem; }
  header h1 small { display: none; }
  header button { color: var(--soft); font-size: .9rem; }
header select { max-width: 8rem; }
  footer { padding-inline: .6rem; }
  article.assistant > .text { font-size: 1.05rem; }
}
@media (prefers-reduced-motion: reduce) { * { animation: none !important; transition: none !important; } }
`;
