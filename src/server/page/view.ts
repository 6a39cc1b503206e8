/** How the page shows a conversation, as JavaScript for the browser. */
export const VIEW_SCRIPT: string = String.raw`
const byId = (id) => document.getElementById(id);
const log = byId("log"), input = byId("input");

function actionButton(label, action, description) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = label;
  if (description) button.setAttribute("aria-label", description);
  button.addEventListener("click", async () => {
    if (await action() !== "done") return;
    button.textContent = "Done";
    setTimeout(() => button.textContent = label, 1200);
  });
  return button;
}

/** To the clipboard, where the browser lets this page. */
async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return "done";
  } catch {
    return "refused";
  }
}

function part(tag, name) {
  const node = document.createElement(tag);
  node.className = name;
  return node;
}

/** The text of a question, to be changed: asks again from there. */
function edit(message, host) {
  const area = document.createElement("textarea"), actions = part("div", "actions");
  area.value = message.content;
  area.setAttribute("aria-label", "Edit the message");
  const save = () => {
    const content = area.value.trim();
    if (content === "") return;
    cutAt(message, false);
    send(content);
  };
  const leave = () => {
    showAll();
    input.focus();
  };
  area.addEventListener("keydown", (event) => {
    if (event.key === "Escape") leave();
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      save();
    }
  });
  actions.append(actionButton("Send", save), actionButton("Cancel", leave));
  host.replaceChildren(area, actions);
  area.focus();
  area.setSelectionRange(area.value.length, area.value.length);
}

function userView(message) {
  const host = part("article", "user"), text = part("div", "text"), actions = part("div", "actions");
  host.setAttribute("aria-label", "You");
  text.textContent = message.content;
  const change = actionButton("Edit", () => edit(message, host), "Edit this message");
  change.classList.add("edit");
  actions.append(change, actionButton("Copy", () => copyText(message.content), "Copy this message"));
  host.append(text, actions);
  return { host, update() {} };
}

function assistantView(message) {
  const host = part("article", "assistant"), text = part("div", "text"), actions = part("div", "actions");
  host.setAttribute("aria-label", "Answer");
  const reasoning = part("details", "reasoning"), thoughts = document.createElement("div");
  const summary = document.createElement("summary"), failed = part("p", "failed"), stats = part("output", "stats");
  summary.textContent = "Reasoning";
  reasoning.append(summary, thoughts);
  failed.setAttribute("role", "alert");
  actions.append(
    stats,
    actionButton("Try again", () => regenerate(message), "Answer again"),
    actionButton("Copy", () => copyText(message.content), "Copy this answer"),
  );
  host.append(reasoning, text, failed, actions);
  const update = () => {
    reasoning.hidden = !message.reasoning;
    if (thoughts.textContent !== message.reasoning) thoughts.textContent = message.reasoning || "";
    if (message.content === "" && !message.error && message.finish === undefined) text.replaceChildren(part("p", ""));
    else showMarkdown(text, message.content);
    failed.hidden = !message.error;
    failed.textContent = message.error || "";
    stats.textContent = statsOf(message);
  };
  update();
  return { host, update };
}

function showMessage(message) {
  const view = message.role === "user" ? userView(message) : assistantView(message);
  const empty = log.querySelector(".empty");
  if (empty) empty.remove();
  log.append(view.host);
  return view;
}

function showAll() {
  log.replaceChildren();
  for (const message of state.messages) showMessage(message);
  if (state.messages.length > 0) return;
  const empty = part("p", "empty");
  empty.textContent = "Ask something.";
  log.append(empty);
}

const scroller = log.parentElement;

/** Changes what is shown; the end stays in view, unless the reader has scrolled away from it. */
function keepEnd(change) {
  const isAtEnd = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < 60;
  change();
  if (isAtEnd) scroller.scrollTop = scroller.scrollHeight;
}
`;
