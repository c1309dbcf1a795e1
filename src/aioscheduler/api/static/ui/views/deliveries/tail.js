// The delivery log with what is told live before it.
import { useEffect, useMemo, useRef, useState } from "../../lib.js";
import { useLive, usePaged, useThrottled } from "../../hooks.js";
import { statusOf } from "../../components.js";

/** How many rows told live are kept before the log is read again, and how many wait while nothing is shown. */
const MOST = 400;
const SHOW_MS = 250;

/** Ids of the log are "milliseconds-number". */
function isNewer(id, other) {
  const [at, number] = id.split("-").map(Number);
  const [otherAt, otherNumber] = other.split("-").map(Number);
  return at > otherAt || (at === otherAt && number > otherNumber);
}

/**
 * `{rows, hidden, show, ...}` as usePaged gives it, newest first. While `held`, what comes is counted in `hidden`; `show`
 * shows it. query: `{status, messageId, jobId}`.
 */
export function useTail(query, held) {
  const list = usePaged("/deliveries", { query, items: "deliveries", limit: 100, further: 500 });
  const key = JSON.stringify(query);
  const [fresh, setFresh] = useState({ key, rows: [] });
  const [hidden, setHidden] = useState(0);
  const told = useRef({ rows: [], count: 0, again: false });

  const forget = () => {
    told.current = { rows: [], count: 0, again: false };
    setHidden(0);
  };
  useEffect(() => {
    forget();
    setFresh({ key, rows: [] });
  }, [key]);

  const show = () => {
    const { rows, again } = told.current;
    forget();
    const before = fresh.key === key ? fresh.rows : [];
    const known = new Set(before.map((row) => row.id));
    const all = [...rows.filter((row) => !known.has(row.id)), ...before].sort((one, other) => (isNewer(one.id, other.id) ? -1 : 1));
    setFresh({ key, rows: all.slice(0, MOST) });
    // After many there may be a gap: they are read again, which also says where older ones begin.
    if (again || all.length > MOST / 2) list.reload();
  };
  const look = useThrottled(() => (held ? setHidden(told.current.count) : show()), SHOW_MS);

  const fits = (row) =>
    (!query.status || statusOf(row.status) === query.status) &&
    (!query.messageId || row.messageId === query.messageId) && (!query.jobId || row.jobId === query.jobId.toLowerCase());
  useLive(["delivery", "missed", "poll", "resync"], (data, kind) => {
    const own = told.current;
    if (kind === "delivery") {
      if (!fits(data)) return;
      own.rows.unshift(data);
      own.count += 1;
      if (own.rows.length > MOST) own.rows.length = MOST;
    } else {
      own.again = true;
      if (kind === "missed") own.count += data.count;
    }
    look();
  });
  useEffect(() => {
    if (!held) look();
  }, [held]);

  const rows = useMemo(() => {
    const first = list.items[0];
    const newer = fresh.key === key ? fresh.rows.filter((row) => !first || isNewer(row.id, first.id)) : [];
    return newer.length ? [...newer, ...list.items] : list.items;
  }, [fresh, list.items, key]);
  return { ...list, rows, hidden, show };
}
