/** The page's state and its controls, as JavaScript for the browser. */
export const APP_SCRIPT: string = String.raw`
const composer = byId("composer"), dialog = byId("settings");
const DEFAULTS = {
  system: "", temperature: "", top_p: "", top_k: "", min_p: "", max_tokens: "", seed: "", apiKey: "", theme: "",
};

function stored(name, otherwise) {
  try {
    return Object.assign(otherwise, JSON.parse(sessionStorage.getItem(name)));
  } catch {
    return otherwise;
  }
}

const settings = stored("settings", { ...DEFAULTS });
const state = { messages: stored("chat", { messages: [] }).messages, models: [], stop: undefined, figures: {} };

function keep() {
  try {
    sessionStorage.setItem("settings", JSON.stringify(settings));
    sessionStorage.setItem("chat", JSON.stringify({ messages: state.messages }));
  } catch { /* a full or forbidden store: the page works without */ }
}

function modelOf() {
  return state.models.find(({ id }) => id === byId("model").value);
}

/** What stands under an answer, and at the bottom of the page. */
function statsOf({ nTokens, perSecond, waitMs, finish }) {
  const parts = [];
  if (nTokens > 0) parts.push(nTokens + (nTokens === 1 ? " token" : " tokens"));
  if (perSecond > 0) parts.push(perSecond.toFixed(1) + " tokens/s");
  if (waitMs > 0) parts.push((waitMs / 1000).toFixed(2) + " s to the first");
  if (finish === "length") parts.push("cut at the limit");
  if (finish === "stopped") parts.push("stopped");
  return parts.join(" · ");
}

function showFigures() {
  const last = state.messages.at(-1), model = modelOf(), { kv, running, waiting } = state.figures;
  const context = last && last.nContext && model && model.max_model_len;
  const left = [];
  if (state.stop && last && last.perSecond) left.push(last.perSecond.toFixed(1) + " tokens/s");
  if (context) left.push("context " + last.nContext + " of " + context);
  const right = [];
  if (kv !== undefined) right.push("KV cache " + (100 * kv).toFixed(kv < .1 ? 1 : 0) + " %");
  if (running !== undefined) right.push(running + " running" + (waiting ? ", " + waiting + " waiting" : ""));
  byId("left").textContent = left.join(" · ");
  byId("right").textContent = right.join(" · ");
}

async function refreshFigures() {
  const model = modelOf();
  if (model === undefined || document.hidden) return;
  try {
    state.figures = await readFigures(settings, model.id);
  } catch {
    state.figures = {};
  }
  showFigures();
}

function setBusy(stop) {
  state.stop = stop;
  byId("send").textContent = stop ? "Stop" : "Send";
  byId("send").setAttribute("aria-label", stop ? "Stop the answer" : "Send the message");
  log.setAttribute("aria-busy", String(stop !== undefined));
}

/** Answers what stands in the conversation; the answer is its new last message. */
async function answer() {
  const model = modelOf();
  if (model === undefined) return connect();
  const stop = new AbortController();
  const asked = [...state.messages];
  const message = { role: "assistant", content: "", reasoning: "", nTokens: 0 };
  state.messages.push(message);
  setBusy(stop);
  const shown = showMessage(message);
  let isDrawn = false;
  const draw = () => {
    isDrawn = false;
    keepEnd(shown.update);
    showFigures();
  };
  const onNews = () => {
    if (!isDrawn) requestAnimationFrame(draw);
    isDrawn = true;
  };
  shown.host.classList.add("writing");
  scroller.scrollTop = scroller.scrollHeight;
  const timer = setInterval(refreshFigures, 1000);
  try {
    await streamAnswer(settings, model.id, asked, message, stop.signal, onNews);
  } catch (error) {
    if (stop.signal.aborted) message.finish = "stopped";
    else message.error = error.message;
    if (error.status === 401) openSettings();
  } finally {
    clearInterval(timer);
    shown.host.classList.remove("writing");
    setBusy(undefined);
    draw();
    keep();
    await refreshFigures();
  }
}

/** Forgets what follows a message, itself included, or only what follows. */
function cutAt(message, isKept) {
  if (state.stop) state.stop.abort();
  state.messages.length = Math.max(0, state.messages.indexOf(message) + (isKept ? 1 : 0));
  showAll();
}

function send(text) {
  const content = text.trim();
  if (content === "" || state.stop) return;
  state.messages.push({ role: "user", content });
  showMessage(state.messages.at(-1));
  void answer();
}

function regenerate(message) {
  cutAt(message, false);
  void answer();
}

function openSettings() {
  for (const name of Object.keys(DEFAULTS)) byId(name).value = settings[name];
  if (!dialog.open) dialog.showModal();
}

function applyTheme() {
  document.documentElement.dataset.theme = settings.theme;
}

/** Asks for the models until there are some: the server listens before it is ready. */
async function connect() {
  const status = byId("status");
  try {
    state.models = await listModels(settings);
    const health = state.models.length > 0 ? { status: "ok" } : await (await fetch("health")).json();
    const { loaded_bytes: loaded, total_bytes: total } = health;
    if (health.status !== "ok") {
      status.textContent = health.status + (total > 0 ? " " + Math.floor(100 * loaded / total) + " %" : "");
      setTimeout(connect, 500);
      return;
    }
    status.textContent = "";
    const select = byId("model"), before = select.value;
    select.replaceChildren(...state.models.map(({ id }) => new Option(id, id, false, id === before)));
    select.disabled = state.models.length < 2;
    await refreshFigures();
  } catch (error) {
    status.textContent = error.status === 401 ? "an API key is needed" : "no connection";
    if (error.status === 401) openSettings();
    else setTimeout(connect, 2000);
  }
}

composer.addEventListener("submit", (event) => {
  event.preventDefault();
  if (state.stop) return state.stop.abort();
  send(input.value);
  input.value = "";
  input.focus();
});
input.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    if (!state.stop) composer.requestSubmit();
  } else if (event.key === "ArrowUp" && input.value === "" && !state.stop) {
    const edit = [...log.querySelectorAll("button.edit")].at(-1);
    if (edit) {
      event.preventDefault(); // else it moves the caret of the text that is now edited
      edit.click();
    }
  }
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && state.stop && !dialog.open) state.stop.abort();
});
byId("new").addEventListener("click", () => {
  cutAt(undefined, false);
  keep();
  input.focus();
});
byId("open").addEventListener("click", openSettings);
// Not when the dialog has closed, which is told later: what is sent next is sent as these settings say.
dialog.addEventListener("submit", (event) => {
  if (event.submitter.value !== "save") return;
  for (const name of Object.keys(DEFAULTS)) settings[name] = byId(name).value;
  applyTheme();
  keep();
  void connect();
});
byId("reset").addEventListener("click", () => {
  for (const name of Object.keys(DEFAULTS)) byId(name).value = DEFAULTS[name];
});

applyTheme();
showAll();
void connect();
input.focus();
`;
