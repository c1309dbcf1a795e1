// Where we are: "#/upcoming?id=order-1" is the view "upcoming" with the parameter id.
import { store } from "./lib.js";

function parse() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split(/\?(.*)/s);
  return { view: decodeURIComponent(path), params: Object.fromEntries(new URLSearchParams(query)) };
}

export const route = store(parse());
addEventListener("hashchange", () => route.set(parse()));

/** The address of a view; parameters that are null, undefined or empty are left out. */
export function link(view, params = {}) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(params)) {
    if (value !== null && value !== undefined && value !== "") query.set(name, value);
  }
  const text = query.toString();
  return `#/${view}${text ? `?${text}` : ""}`;
}

/** Go there; `replace` leaves no step in the history, for filters that change with each key. */
export function go(view, params, { replace = false } = {}) {
  const address = link(view, params);
  if (replace) {
    history.replaceState(null, "", address);
    route.set(parse());
  } else {
    location.hash = address;
  }
}
