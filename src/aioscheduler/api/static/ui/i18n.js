// Languages. The key of a sentence is the sentence in English; Portuguese stands in i18n/pt.js and views/<name>.pt.js.
import { kept, store } from "./lib.js";

export const LANGUAGES = { en: "English", pt: "Português" };
/** By language: what all views say, what each says, and all of it for words that outlive their view. */
const tables = { pt: { shared: new Map(), views: {}, all: new Map() } };
let view = null;

function preferred() {
  const chosen = kept.get("language");
  if (chosen in LANGUAGES) return chosen;
  for (const tag of navigator.languages ?? []) {
    const short = tag.toLowerCase().split("-")[0];
    if (short in LANGUAGES) return short;
  }
  return "en";
}

export const language = store(preferred());

export function setLanguage(code) {
  kept.set("language", code);
  document.documentElement.lang = htmlLang(code);
  language.set(code);
}

const htmlLang = (code) => (code === "pt" ? "pt-BR" : code);
document.documentElement.lang = htmlLang(language.get());

/** For numbers and dates: the reader's own variety of the language where the browser names one. */
export function locale() {
  const code = language.get();
  const own = (navigator.languages ?? []).find((tag) => tag.toLowerCase().split("-")[0] === code);
  return own ?? (code === "pt" ? "pt-BR" : "en-GB");
}

/** Add what a view says, or without a name what all say. The same English may be other words in another view. */
export function addSentences(code, table, name) {
  const { shared, views, all } = tables[code];
  const own = name === undefined ? shared : (views[name] ??= new Map());
  for (const [key, sentence] of Object.entries(table)) {
    own.set(key, sentence);
    all.set(key, sentence);
  }
}

/** Say which view speaks from now on. */
export function speakFor(name) {
  view = name;
}

function translated(code, key) {
  if (code === "en") return undefined;
  const { shared, views, all } = tables[code];
  return views[view]?.get(key) ?? shared.get(key) ?? all.get(key);
}

/**
 * A sentence in the reader's language, its {places} filled. "one thing|{count} things" has a form for each number,
 * chosen by `values.count`. The first argument is a literal, so that a test can look for its translation.
 */
export function t(key, values) {
  const code = language.get();
  let text = translated(code, key) ?? key;
  if (text.includes("|") && values && "count" in values) {
    const [one, other] = text.split("|");
    text = new Intl.PluralRules(htmlLang(code)).select(Number(values.number ?? values.count)) === "one" ? one : other;
  }
  return values ? text.replace(/\{(\w+)\}/g, (place, name) => (name in values ? String(values[name]) : place)) : text;
}

/** Marks a sentence that is translated later, by `t(variable)`. */
export const msg = (key) => key;
