// One stream of events for the whole page. Where there is none, a tick every few seconds takes its place.
//
// Kinds: "delivery", "message", "letter", "job", "overview", "missed" as GET /events tells them; "poll" while there
// is no stream; "resync" when a stream begins, since things may have happened before it.
import { store } from "./lib.js";
import { headers } from "./api.js";
import { doubt, ROOT, session } from "./session.js";

const POLL_MS = 5_000;
const FIRST_PAUSE_MS = 1_000;
const LONGEST_PAUSE_MS = 30_000;
/** Heartbeats come every 15 s: a stream that is silent for longer is none. */
const SILENCE_MS = 40_000;

/** "connecting", "live", "polling" (there is no stream, but an API) or "offline". */
export const liveState = store("connecting");

const listeners = new Map();

/** Call `listener(data, kind)` for each event of these kinds; returns what ends that. */
export function listen(kinds, listener) {
  for (const kind of kinds) {
    if (!listeners.has(kind)) listeners.set(kind, new Set());
    listeners.get(kind).add(listener);
  }
  return () => kinds.forEach((kind) => listeners.get(kind).delete(listener));
}

function emit(kind, data) {
  for (const listener of [...(listeners.get(kind) ?? [])]) listener(data, kind);
}

let controller = null;
let timer = null;
let lastId = null;

session.watch(restart);
restart();

function restart() {
  controller?.abort();
  clearInterval(timer);
  controller = null;
  lastId = null;
  const current = session.get();
  if (!current) return;
  liveState.set("connecting");
  const own = (controller = new AbortController());
  timer = setInterval(() => {
    if (liveState.get() === "polling" && !document.hidden) emit("poll", null);
  }, POLL_MS);
  if (current.opens.includes("messages")) follow(own.signal);
  else liveState.set("polling");
}

async function follow(signal) {
  let pause = FIRST_PAUSE_MS;
  while (!signal.aborted) {
    try {
      await stream(signal, () => (pause = FIRST_PAUSE_MS));
    } catch {
      // Told by the state; what follows is the next try.
    }
    if (signal.aborted) return;
    if (liveState.get() === "live") liveState.set("connecting");
    await new Promise((resolve) => setTimeout(resolve, pause * (1 + Math.random() * 0.2)));
    pause = Math.min(pause * 2, LONGEST_PAUSE_MS);
  }
}

async function stream(signal, onOpen) {
  const silence = new AbortController();
  let alarm = setTimeout(() => silence.abort(), SILENCE_MS);
  let answer;
  try {
    answer = await fetch(new URL("events", ROOT), {
      signal: AbortSignal.any([signal, silence.signal]),
      cache: "no-store",
      headers: headers({ Accept: "text/event-stream", ...(lastId ? { "Last-Event-ID": lastId } : {}) }),
    });
  } catch (error) {
    clearTimeout(alarm);
    if (!signal.aborted) liveState.set("offline");
    throw error;
  }
  try {
    if (!answer.ok || !answer.headers.get("Content-Type")?.startsWith("text/event-stream")) {
      if (answer.status === 401) doubt();
      liveState.set("polling");
      return;
    }
    onOpen();
    liveState.set("live");
    emit("resync", null);
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      clearTimeout(alarm);
      alarm = setTimeout(() => silence.abort(), SILENCE_MS);
      const blocks = (text + value).split("\n\n");
      text = blocks.pop();
      for (const block of blocks) dispatch(block);
    }
  } finally {
    clearTimeout(alarm);
  }
}

function dispatch(block) {
  let kind = "message";
  const data = [];
  for (const line of block.split("\n")) {
    const [name, value = ""] = line.split(/: ?(.*)/s);
    if (name === "event") kind = value;
    else if (name === "data") data.push(value);
    else if (name === "id") lastId = value;
  }
  if (data.length) emit(kind, JSON.parse(data.join("\n")));
}
