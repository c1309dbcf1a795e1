// What every module here builds on: Preact with htm instead of JSX, and values that can be watched.
import { h } from "preact";
import { useEffect, useState } from "preact/hooks";
import htm from "htm";

export { Component, Fragment, createContext, h, render } from "preact";
export {
  useCallback, useContext, useEffect, useId, useLayoutEffect, useMemo, useReducer, useRef, useState,
} from "preact/hooks";

export const html = htm.bind(h);

/** A value that others can watch: `get()`, `set(value)`, `watch(call)`, which returns what ends the watching. */
export function store(value) {
  const watchers = new Set();
  return {
    get: () => value,
    set(next) {
      if (Object.is(next, value)) return;
      value = next;
      for (const call of [...watchers]) call(value);
    },
    watch(call) {
      watchers.add(call);
      return () => watchers.delete(call);
    },
  };
}

/** The value of a store; the component is drawn again when it changes. */
export function useStore(watched) {
  const [value, setValue] = useState(watched.get());
  useEffect(() => {
    setValue(() => watched.get());
    return watched.watch((next) => setValue(() => next));
  }, [watched]);
  return value;
}

/** `localStorage`, or nothing where it is forbidden. */
export const kept = {
  get(name) {
    try {
      return localStorage.getItem(`aioscheduler.${name}`);
    } catch {
      return null;
    }
  },
  set(name, value) {
    try {
      if (value === null) localStorage.removeItem(`aioscheduler.${name}`);
      else localStorage.setItem(`aioscheduler.${name}`, value);
    } catch {
      // It is a convenience; without it the choice lasts as long as the page.
    }
  },
};
