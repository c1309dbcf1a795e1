// Many letters at once: asked first, done in steps, with progress, and stopped when the reader has seen enough.
import { html, useEffect, useRef, useState } from "../../lib.js";
import { t } from "../../i18n.js";
import { del, get, post, seg } from "../../api.js";
import { number } from "../../format.js";
import { Banner, Button, Dialog, toast } from "../../components.js";
import { saidBy } from "./reasons.js";

/** How many letters are counted where only reading them tells. */
const MOST_COUNTED = 5000;

/** Yields what each step did, `{done, failed, why}`, until nothing is left. */
async function* byFilter(what, filter, count) {
  const limit = Math.max(20, Math.min(500, Math.ceil(count / 20)));
  const path = what === "replay" ? "/dead-letters/replay" : "/dead-letters/discard";
  let cursor;
  do {
    const body = await post(path, { ...filter, ...(Object.keys(filter).length ? {} : { all: true }), limit, cursor });
    yield { done: body.replayed ?? body.discarded, failed: body.failed, why: null };
    cursor = body.nextCursor ?? undefined;
  } while (cursor);
}

async function* byId(what, ids) {
  for (const id of ids) {
    try {
      if (what === "replay") await post(`/dead-letters/${seg(id)}/replay`, {});
      else await del(`/dead-letters/${seg(id)}`);
      yield { done: 1, failed: 0, why: null };
    } catch (error) {
      if (!error.status) throw error;
      yield { done: 0, failed: 1, why: saidBy(error) };
    }
  }
}

function useCount(filter, known) {
  const [count, setCount] = useState({ count: known, exact: true, ready: known !== null });
  useEffect(() => {
    if (known !== null) return undefined;
    const own = new AbortController();
    (async () => {
      let found = 0;
      let cursor = null;
      do {
        const body = await get("/dead-letters", { query: { ...filter, limit: 500, cursor }, signal: own.signal });
        found += body.count;
        cursor = body.nextCursor;
        setCount({ count: found, exact: !cursor, ready: !cursor || found >= MOST_COUNTED });
      } while (cursor && found < MOST_COUNTED);
    })().catch((error) => own.signal.aborted || setCount({ count: null, exact: false, ready: true, error }));
    return () => own.abort();
  }, []);
  return count;
}

/**
 * what: "replay" or "delete". filter: `{prefix, reason, destination}`, or ids: which. count: how many there are, null where
 * that has to be found out. where: in words, what the filter leaves. onChange(): letters went; onClose().
 */
export function Bulk({ what, filter, ids, count: known, where, onChange, onClose }) {
  const { count, exact, ready, error: uncounted } = useCount(filter, ids ? ids.length : known);
  const [state, setState] = useState({ phase: "ask", done: 0, failed: 0, why: null, error: null });
  const stopped = useRef(false);
  const running = state.phase === "run";
  const isReplay = what === "replay";

  const run = async () => {
    if (running) return;
    stopped.current = false;
    let told = { phase: "run", done: 0, failed: 0, why: null, error: null };
    setState(told);
    try {
      for await (const step of ids ? byId(what, ids) : byFilter(what, filter, count ?? 0)) {
        told = { ...told, done: told.done + step.done, failed: told.failed + step.failed, why: told.why ?? step.why };
        setState(told);
        if (stopped.current) break;
      }
    } catch (error) {
      told = { ...told, error };
    }
    onChange();
    if (!told.failed && !told.error && !stopped.current) {
      toast(result(isReplay, told.done));
      onClose();
    } else setState({ ...told, phase: "end" });
  };
  const leave = () => {
    if (running) stopped.current = true;
    else onClose();
  };

  const some = exact ? number(count) : t("at least {count}", { count: number(count) });
  const passed = state.done + state.failed;
  const counts = { count: some, number: count ?? 0 };
  const title = state.phase !== "ask" ? (isReplay ? t("Replay") : t("Delete")) : !ready || count === null
    ? (isReplay ? t("Replay dead letters?") : t("Delete dead letters?"))
    : (isReplay ? t("Replay one dead letter?|Replay {count} dead letters?", counts) : t("Delete one dead letter?|Delete {count} dead letters?", counts));
  const foot = {
    ask: html`<${Button} onClick=${onClose} autofocus>${t("Cancel")}</${Button}>
      <${Button} kind=${isReplay ? "primary" : "danger"} disabled=${!ready || count === 0} onClick=${run}>${isReplay ? t("Replay") : t("Delete")}</${Button}>`,
    run: html`<${Button} onClick=${leave} disabled=${stopped.current}>${t("Stop")}</${Button}>`,
    end: html`<${Button} onClick=${onClose}>${t("Close")}</${Button}>`,
  }[state.phase];
  return html`<${Dialog} keep title=${title} onClose=${leave} foot=${foot}>
    ${state.phase === "ask" && html`
      ${where && html`<p>${where}</p>`}
      <p class="muted">${isReplay ? t("Each is sent again at once, to where it was to go. What cannot be sent stays here.") : t("They are gone for good.")}</p>
      ${!ready && html`<p class="muted" role="status">${t("Counting… {count} so far", { count: number(count ?? 0) })}</p>`}
      ${uncounted && html`<${Banner} tone="bad">${uncounted.message}</${Banner}>`}`}
    ${state.phase !== "ask" && html`<div class="dead-progress">
      <progress aria-label=${t("Progress")} max=${Math.max(1, count ?? 0, passed)} value=${passed}></progress>
      <p role="status">${t("{done} of {count}", { done: number(passed), count: passed > (count ?? 0) ? number(passed) : some })}</p>
    </div>`}
    ${state.phase === "end" && html`
      ${state.error && html`<${Banner} tone="bad">${saidBy(state.error)}</${Banner}>`}
      <${Banner} tone=${state.failed ? "warn" : "info"} title=${result(isReplay, state.done)}>
        ${state.failed > 0 && (isReplay ? t("One stayed: it cannot be sent as it is.|{count} stayed: they cannot be sent as they are.", { count: number(state.failed), number: state.failed }) : t("One was gone already.|{count} were gone already.", { count: number(state.failed), number: state.failed }))}
        ${state.why && html` <span>${state.why}</span>`}
      </${Banner}>`}
  </${Dialog}>`;
}

const result = (isReplay, done) => {
  const counts = { count: number(done), number: done };
  return isReplay ? t("One is sent again|{count} are sent again", counts) : t("One is deleted|{count} are deleted", counts);
};
