// What views are made with, besides components.
import { store, useCallback, useEffect, useMemo, useRef, useState, useStore } from "./lib.js";
import { get } from "./api.js";
import { now } from "./format.js";
import { listen, liveState } from "./live.js";
import { route } from "./router.js";
import { session } from "./session.js";

export { useStore };
export const useRoute = () => useStore(route);
export const useSession = () => useStore(session);
export const useLiveState = () => useStore(liveState);

/** Call `handler(data, kind)` for each live event of these kinds, while the component is there. */
export function useLive(kinds, handler) {
  const latest = useRef(handler);
  latest.current = handler;
  const names = kinds.join();
  useEffect(() => (names ? listen(names.split(","), (data, kind) => latest.current(data, kind)) : undefined), [names]);
}

/** A function that has `call` called soon, once for many requests, and at most every `pause` milliseconds. */
export function useThrottled(call, pause) {
  const latest = useRef(call);
  latest.current = call;
  const state = useRef({ timer: null, last: 0 });
  useEffect(() => () => clearTimeout(state.current.timer), []);
  return useCallback(() => {
    const own = state.current;
    if (own.timer !== null) return;
    const wait = Math.max(50, own.last + pause - Date.now());
    own.timer = setTimeout(() => {
      own.timer = null;
      own.last = Date.now();
      latest.current();
    }, wait);
  }, [pause]);
}

/**
 * The answer to a GET: `{data, error, loading, reload, setData}`. `data` stays while it is asked for again.
 *
 * path: null asks nothing. on: live events after which it is asked again, once for many; while there is no stream, every
 * poll does. every: milliseconds after which it is asked again in any case. query, exact, also: as in api.request.
 */
export function useApi(path, { query, on = [], every = 0, exact, also, pause = 1000 } = {}) {
  const [state, setState] = useState({ data: null, error: null, loading: path !== null });
  const key = path === null ? null : JSON.stringify([path, query ?? null]);
  const running = useRef(null);
  const load = useCallback(() => {
    if (key === null) return Promise.resolve();
    running.current?.abort();
    const own = (running.current = new AbortController());
    setState((old) => ({ ...old, loading: true }));
    return get(path, { query, exact, also, signal: own.signal }).then(
      (data) => own.signal.aborted || setState({ data, error: null, loading: false }),
      (error) => own.signal.aborted || setState((old) => ({ data: old.data, error, loading: false })),
    );
  }, [key]);
  useEffect(() => {
    setState({ data: null, error: null, loading: key !== null });
    load();
    return () => running.current?.abort();
  }, [load]);
  const again = useThrottled(load, pause);
  useLive(on.length ? [...on, "poll", "resync"] : [], again);
  useEffect(() => {
    if (!every) return undefined;
    const timer = setInterval(() => document.hidden || load(), every);
    return () => clearInterval(timer);
  }, [every, load]);
  const setData = useCallback((change) => {
    setState((old) => ({ ...old, data: typeof change === "function" ? change(old.data) : change }));
  }, []);
  return { ...state, reload: load, setData };
}

/** How many pages in a row may be empty (a filter that fits few) before the reader has to ask for more. */
const EMPTY_PAGES = 5;
/** Longer lists are not read again by themselves; change them with `setItems`. */
const MOST_FOLLOWED = 1000;

/** What the API gives at once, at most. */
const MOST_AT_ONCE = 1000;

/**
 * A list that comes in pages by cursor: `{items, more, loading, error, loadMore, reload, restart, setItems, first}`.
 *
 * items: the name of the list in an answer. limit: the first page's length, further: that of others. `first` is the first
 * page's whole answer (totals and the like). `reload` reads as many rows again as are there, so that nothing jumps; live
 * events in `on` do it for lists of up to 1,000. `loading` is not said of it. `restart` begins anew. slices: the list is
 * told by `skip` and `total` in place of cursors. Give it to Table as `...list`.
 */
export function usePaged(path, { query, items: name, limit = 200, further = limit, on = [], pause = 2000, slices = false } = {}) {
  const empty = { items: [], cursor: null, more: false, loading: path !== null, error: null, first: null };
  const [state, setState] = useState(empty);
  const latest = useRef(state);
  latest.current = state;
  const running = useRef(null);
  const key = path === null ? null : JSON.stringify([path, query ?? null, limit]);

  const read = useCallback(async (from, enough, before, first, { quiet = false } = {}) => {
    running.current?.abort();
    const own = (running.current = new AbortController());
    if (!quiet) setState((old) => ({ ...old, loading: true }));
    let cursor = from;
    let found = before;
    let blank = 0;
    try {
      do {
        const length = Math.min(MOST_AT_ONCE, Math.max(cursor ? further : limit, enough - found.length));
        const place = slices ? { skip: found.length } : { cursor };
        const body = await get(path, { query: { ...query, limit: length, ...place }, signal: own.signal });
        first ??= body;
        found = found.concat(body[name]);
        cursor = slices ? (body[name].length && found.length < body.total ? String(found.length) : null) : body.nextCursor;
        blank = body[name].length ? 0 : blank + 1;
      } while (cursor && found.length < enough && blank < EMPTY_PAGES);
      if (!own.signal.aborted) setState({ items: found, cursor, more: Boolean(cursor), loading: false, error: null, first });
    } catch (error) {
      if (!own.signal.aborted) setState((old) => ({ ...old, loading: false, error }));
    }
  }, [key]);

  useEffect(() => {
    setState(empty);
    if (key !== null) read(null, 1, [], null);
    return () => running.current?.abort();
  }, [read]);

  const loadMore = useCallback(() => {
    const { cursor, items, loading, first } = latest.current;
    if (cursor && !loading) read(cursor, items.length + 1, items, first);
  }, [read]);
  const reload = useCallback(() => {
    const { items, first } = latest.current;
    if (key !== null) return read(null, items.length, [], null, { quiet: first !== null });
    return Promise.resolve();
  }, [read]);
  const restart = useCallback(() => {
    setState(empty);
    if (key !== null) read(null, 1, [], null);
  }, [read]);
  const follow = () => (latest.current.items.length <= MOST_FOLLOWED ? reload() : undefined);
  useLive(on.length ? [...on, "poll", "resync"] : [], useThrottled(follow, pause));
  const setItems = useCallback((change) => {
    setState((old) => ({ ...old, items: typeof change === "function" ? change(old.items) : change }));
  }, []);
  return { ...state, loadMore, reload, restart, setItems };
}

const tick = store(0);
let ticking = 0;
let ticker = null;

/** The service's time in milliseconds, once a second; one timer serves the whole page. */
export function useNow() {
  useStore(tick);
  useEffect(() => {
    if (ticking++ === 0) ticker = setInterval(() => tick.set(tick.get() + 1), 1000);
    return () => {
      if (--ticking === 0) clearInterval(ticker);
    };
  }, []);
  return now();
}

/** The text of a field that stands in the address too: `[text, setText]`. `tell(text)` is called once one has stopped typing. */
export function useTyped(given, tell) {
  const [text, setText] = useState(given);
  const settled = useSettled(text);
  const told = useRef(given);
  useEffect(() => {
    if (given === told.current) return;
    told.current = given;
    setText(given);
  }, [given]);
  useEffect(() => {
    if (settled === told.current || settled !== text) return;
    told.current = settled;
    tell(settled);
  }, [settled]);
  return [text, setText];
}

/** `value`, once it has not changed for a while: for fields that search as one types. */
export function useSettled(value, pause = 250) {
  const [settled, setSettled] = useState(value);
  useEffect(() => {
    const timer = setTimeout(() => setSettled(value), pause);
    return () => clearTimeout(timer);
  }, [value, pause]);
  return settled;
}

/** Whether the screen is narrow: there tables are cards. */
export function useNarrow() {
  const query = useMemo(() => matchMedia("(max-width: 760px)"), []);
  const [narrow, setNarrow] = useState(query.matches);
  useEffect(() => {
    const change = () => setNarrow(query.matches);
    query.addEventListener("change", change);
    return () => query.removeEventListener("change", change);
  }, [query]);
  return narrow;
}

/**
 * Something that is done once at a time: `[run, busy, error, setError]`. `run` does nothing while it runs; an error is
 * kept for the place where it belongs, and `run` then returns undefined.
 */
export function useAction(action) {
  const [state, setState] = useState({ busy: false, error: null });
  const busy = useRef(false);
  const alive = useRef(true);
  useEffect(() => () => { alive.current = false; }, []);
  const latest = useRef(action);
  latest.current = action;
  const run = useCallback(async (...given) => {
    if (busy.current) return undefined;
    busy.current = true;
    setState({ busy: true, error: null });
    let error = null;
    try {
      return await latest.current(...given);
    } catch (raised) {
      error = raised;
      return undefined;
    } finally {
      busy.current = false;
      if (alive.current) setState({ busy: false, error });
    }
  }, []);
  const setError = useCallback((error) => setState((old) => ({ ...old, error })), []);
  return [run, state.busy, state.error, setError];
}
