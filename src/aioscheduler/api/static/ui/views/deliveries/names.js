// The names of jobs, which rows tell by their ids only.
import { useEffect, useRef, useState } from "../../lib.js";
import { get } from "../../api.js";
import { opens } from "../../session.js";

const MOST = 1000;
/** A job that nobody knows any more is not asked for with every row. */
const PAUSE_MS = 10_000;

/** `name(row)` of the job of a row; undefined for a message, and while, or where, it is not known. */
export function useJobNames(rows) {
  const [names, setNames] = useState(new Map());
  const asked = useRef(-Infinity);
  const unknown = new Set(rows.filter(({ jobId }) => jobId && !names.has(jobId)).map(({ jobId }) => jobId)).size;
  useEffect(() => {
    if (!unknown || performance.now() < asked.current + PAUSE_MS) return;
    asked.current = performance.now();
    const lists = [
      opens("jobs") && get("/api/jobs", { query: { limit: MOST } }).then(({ items }) => items),
      opens("bots") && get("/scheduler/jobs"),
    ];
    // Without names the ids do.
    Promise.allSettled(lists.filter(Boolean)).then((found) =>
      setNames(new Map(found.flatMap(({ value = [] }) => value.map(({ id, name }) => [id, name])))));
  }, [unknown]);
  return (row) => names.get(row.jobId);
}
