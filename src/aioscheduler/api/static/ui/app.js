// The page: who is signed in, which view stands where, and what is around it.
import { Component, html, render, useEffect, useRef, useState, useStore } from "./lib.js";
import { addSentences, language, LANGUAGES, msg, setLanguage, speakFor, t } from "./i18n.js";
import { useLiveState, useRoute, useSession } from "./hooks.js";
import { link } from "./router.js";
import { notice, opens, signIn, signOut } from "./session.js";
import { kept } from "./lib.js";
import portuguese from "./i18n/pt.js";
import { Banner, Button, Empty, Icon, IconButton, Menu, Skeleton, TextField, toast, Toasts } from "./components.js";

addSentences("pt", portuguese);

/** In the order of the navigation. needs: what a credential has to open, one of them. */
const VIEWS = {
  overview: { title: msg("Overview"), needs: ["messages"] },
  upcoming: { title: msg("Upcoming"), needs: ["messages"] },
  deliveries: { title: msg("Deliveries"), needs: ["messages"] },
  "dead-letters": { title: msg("Dead letters"), needs: ["messages"] },
  jobs: { title: msg("Jobs"), needs: ["jobs", "bots"] },
};
const mayOpen = (name) => VIEWS[name].needs.some(opens);
const home = () => Object.keys(VIEWS).find(mayOpen) ?? "overview";

const loaded = new Map();

/** Load a view, its styles and its Portuguese, once. */
function load(name) {
  if (!loaded.has(name)) {
    const styles = new Promise((resolve, reject) => {
      const sheet = Object.assign(document.createElement("link"), { rel: "stylesheet", href: `./views/${name}.css` });
      sheet.onload = resolve;
      sheet.onerror = reject;
      document.head.append(sheet);
    });
    const sentences = import(`./views/${name}.pt.js`).then((module) => addSentences("pt", module.default, name));
    const all = Promise.all([import(`./views/${name}.js`), sentences, styles]).then(([module]) => module.default);
    all.catch(() => loaded.delete(name));
    loaded.set(name, all);
  }
  return loaded.get(name);
}

function App() {
  const speech = useStore(language);
  const session = useSession();
  // With another language all is asked for again: the service's sentences and words come in it.
  return html`<div key=${speech} class="app">
    ${session ? html`<${Shell} />` : html`<${SignIn} />`}
    <${Toasts} />
  </div>`;
}

function Shell() {
  const route = useRoute();
  const name = route.view in VIEWS ? route.view : null;
  const shown = name ?? home();
  speakFor(shown);
  const main = useRef(null);
  const first = useRef(true);
  useEffect(() => {
    if (!name) location.replace(link(home()));
  }, [name]);
  useEffect(() => {
    document.title = `${t(VIEWS[shown].title)} · aioscheduler`;
    if (!first.current) {
      scrollTo(0, 0);
      main.current?.focus({ preventScroll: true });
    }
    first.current = false;
  }, [shown]);
  return html`<a class="skip" href="#content" onClick=${(event) => { event.preventDefault(); main.current.focus(); }}>${t("Skip to content")}</a>
    <header class="top"><div class="top-inner">
      <a class="brand" href=${link(home())}><img src="./favicon.svg" alt="" width="26" height="26" /><span>aioscheduler</span></a>
      <nav class="nav" aria-label=${t("Views")}><${Links} shown=${shown} /></nav>
      <div class="tools">
        <${LiveDot} />
        <span class="wide-only tools-wide"><${Tools} /></span>
        <${Menu} label=${t("Menu")} icon="menu" class="narrow-only at-end main-menu">
          <nav class="menu-nav" aria-label=${t("Views")}><${Links} shown=${shown} /></nav>
          <div class="menu-tools"><${Tools} /></div>
        </${Menu}>
      </div>
    </div></header>
    <main id="content" tabindex="-1" ref=${main}>
      <${Boundary} key=${shown}>${mayOpen(shown) ? html`<${View} name=${shown} params=${route.view === shown ? route.params : {}} />` : html`<${Closed} />`}</${Boundary}>
    </main>`;
}

const Links = ({ shown }) =>
  Object.entries(VIEWS).map(([name, { title }]) =>
    html`<a key=${name} class="nav-link" href=${link(name)} aria-current=${name === shown ? "page" : undefined}>${t(title)}</a>`);

function Tools() {
  return html`<${LanguageSwitch} /><${ThemeSwitch} />
    <${IconButton} icon="out" label=${t("Sign out")} onClick=${() => signOut()} />`;
}

function LanguageSwitch() {
  return html`<select class="language" aria-label=${t("Language")} onChange=${(event) => setLanguage(event.currentTarget.value)}>
    ${Object.entries(LANGUAGES).map(([code, name]) => html`<option key=${code} value=${code} lang=${code} selected=${code === language.get()}>${name}</option>`)}
  </select>`;
}

function ThemeSwitch() {
  const system = matchMedia("(prefers-color-scheme: dark)");
  const [dark, setDark] = useState((document.documentElement.dataset.theme ?? (system.matches ? "dark" : "light")) === "dark");
  const change = () => {
    const next = dark ? "light" : "dark";
    // What the system says anyway is followed again.
    const chosen = (next === "dark") === system.matches ? null : next;
    kept.set("theme", chosen);
    if (chosen) document.documentElement.dataset.theme = chosen;
    else delete document.documentElement.dataset.theme;
    setDark(!dark);
    dispatchEvent(new Event("themechange"));
  };
  return html`<${IconButton} icon=${dark ? "sun" : "moon"} label=${dark ? t("Light theme") : t("Dark theme")} onClick=${change} />`;
}

const STATES = {
  connecting: ["info", msg("Connecting"), msg("The stream of events is being opened.")],
  live: ["ok", msg("Live"), msg("Changes appear as they happen.")],
  polling: ["warn", msg("Polling"), msg("Changes appear within some seconds.")],
  offline: ["bad", msg("Offline"), msg("The service cannot be reached; what stands here may be old.")],
};

function LiveDot() {
  const [tone, label, title] = STATES[useLiveState()];
  return html`<span class=${`live ${tone}`} role="status" title=${t(title)}><span class="dot" aria-hidden="true"></span>${t(label)}</span>`;
}

function View({ name, params }) {
  const [found, setFound] = useState(null);
  const attempt = () => {
    setFound(null);
    load(name).then((view) => setFound({ view }), (error) => setFound({ error }));
  };
  useEffect(attempt, [name]);
  if (!found) return html`<${Skeleton} lines=${6} />`;
  if (found.error) {
    return html`<${Banner} tone="bad" action=${html`<${Button} onClick=${attempt}>${t("Try again")}</${Button}>`}>${t("This view could not be loaded.")}</${Banner}>`;
  }
  return html`<${found.view} params=${params} />`;
}

function Closed() {
  const action = html`<div class="row"><${Button} kind="primary" href=${link("jobs")}>${t("Go to Jobs")}</${Button}>
    <${Button} onClick=${() => signOut()}>${t("Use another token")}</${Button}></div>`;
  return html`<${Empty} title=${t("This view needs the API token")} action=${action}>${t("What you signed in with opens jobs only.")}</${Empty}>`;
}

/** A view with a defect takes nothing else with it. */
class Boundary extends Component {
  componentDidCatch(error) {
    console.error(error);
    this.setState({ error });
  }

  render({ children }, { error }) {
    if (!error) return children;
    return html`<${Banner} tone="bad" action=${html`<${Button} onClick=${() => this.setState({ error: null })}>${t("Try again")}</${Button}>`}>${t("This view failed: {reason}", { reason: error.message })}</${Banner}>`;
  }
}

function SignIn() {
  const [secret, setSecret] = useState("");
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState(null);
  const why = useStore(notice);
  useEffect(() => {
    document.title = `${t("Sign in")} · aioscheduler`;
  }, []);
  const submit = async (event) => {
    event.preventDefault();
    if (busy) return;
    setBusy(true);
    try {
      const found = await signIn(secret);
      toast(greeting(found));
    } catch (raised) {
      setError(raised.message);
      setBusy(false);
    }
  };
  return html`<div class="sign-in-corner"><${LanguageSwitch} /><${ThemeSwitch} /></div>
    <main class="sign-in"><form class="card" onSubmit=${submit}>
      <img src="./favicon.svg" alt="" width="44" height="44" />
      <h1>aioscheduler</h1>
      <p class="muted">${t("What goes out next, what went wrong, and how punctual it all is.")}</p>
      ${why && html`<${Banner} tone="warn">${why}</${Banner}>`}
      <${TextField} label=${t("API token")} type="password" name="token" value=${secret} autofocus required error=${error}
        hint=${t("An API key or a JSON Web Token is fine, too. It stays in this tab.")}
        onValue=${(text) => { setSecret(text); setError(null); }} />
      <button type="submit" class=${`button primary block ${busy ? "busy" : ""}`} disabled=${busy}><span>${t("Sign in")}</span></button>
      <p class="hint">${t("The service shows its token at the first start and keeps it in its data folder, as api_token.")}</p>
    </form></main>`;
}

function greeting({ opens: parts, accounts }) {
  if (parts.includes("messages")) return t("Signed in: everything is open.");
  if (!parts.includes("jobs")) return t("Signed in with an API key: bot jobs are open.");
  if (accounts === null) return t("Signed in: the jobs of all accounts are open.");
  return t("Signed in: the jobs of one account are open.|Signed in: the jobs of {count} accounts are open.", { count: accounts.length });
}

render(html`<${App} />`, document.getElementById("app"));
