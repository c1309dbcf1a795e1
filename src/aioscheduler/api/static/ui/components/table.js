import { Fragment, html, useEffect, useLayoutEffect, useRef, useState } from "../lib.js";
import { t } from "../i18n.js";
import { useNarrow } from "../hooks.js";
import { Button, Menu } from "./buttons.js";
import { Failure } from "./status.js";

/** Rows drawn beyond the screen, at each end. */
const BEYOND = 10;
/** Rows before the end of what is there at which the next page is asked for. */
const AHEAD = 60;

const rem = () => parseFloat(getComputedStyle(document.documentElement).fontSize) || 16;

/**
 * Rows that scroll with the page; only those on the screen are drawn, so that there may be any number. Narrow screens get
 * cards instead.
 *
 * label: what it lists. columns: `{key, title, render(row), width, align: "end", narrow: "hide", mono}`; the first one names
 * the row. rows, rowKey(row). rowHref(row): where a click leads (a link on the first column that covers the row).
 * actions(row): `[{label, onClick, href, tone: "danger", disabled}]`, the first two as buttons, others in a menu.
 * selected: a Set of keys, onSelect(set): boxes to tick. more, loading, error, loadMore, reload: as usePaged gives them.
 * total: how many there are in all. empty: what stands there without rows. rowClass(row).
 */
export function Table({
  label, columns, rows, rowKey, rowHref, actions, selected, onSelect, more = false, loading = false, error = null, loadMore,
  reload, total, empty, rowClass, actionsWidth = "11rem",
}) {
  const narrow = useNarrow();
  const body = useRef(null);
  const [range, setRange] = useState([0, 40]);
  const shown = narrow ? columns.filter((column) => column.narrow !== "hide") : columns;
  const height = rem() * (narrow ? 1.5 + shown.length * 1.5 + (actions ? 2.75 : 0) : 2.75);

  useLayoutEffect(() => {
    let frame = 0;
    const look = () => {
      frame = 0;
      if (!body.current) return;
      const top = body.current.getBoundingClientRect().top;
      const first = Math.max(0, Math.floor(-top / height) - BEYOND);
      const last = Math.min(rows.length, Math.ceil((innerHeight - top) / height) + BEYOND);
      // In steps, so that most scrolling draws nothing anew.
      const from = first - (first % 5);
      const to = Math.max(last + 5 - (last % 5), from + BEYOND);
      setRange((old) => (old[0] === from && old[1] === to ? old : [from, to]));
    };
    const soon = () => {
      frame ||= requestAnimationFrame(look);
    };
    look();
    addEventListener("scroll", soon, { passive: true });
    addEventListener("resize", soon);
    return () => {
      cancelAnimationFrame(frame);
      removeEventListener("scroll", soon);
      removeEventListener("resize", soon);
    };
  }, [rows.length, height]);

  const nearEnd = range[1] >= rows.length - AHEAD;
  useEffect(() => {
    if (nearEnd && more && !loading && !error && rows.length) loadMore?.();
  }, [nearEnd, more, loading, error, rows.length]);

  if (!rows.length && !more && !loading && !error) return html`<div class="table-frame">${empty}</div>`;

  const from = Math.min(range[0], rows.length);
  const to = Math.min(range[1], rows.length);
  const onKeyDown = (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step || !event.target.matches(".row-link")) return;
    const links = [...body.current.querySelectorAll(".row-link")];
    const next = links[links.indexOf(event.target) + step];
    if (!next) return;
    event.preventDefault();
    next.focus();
  };
  const toggle = (key) => {
    const next = new Set(selected);
    if (!next.delete(key)) next.add(key);
    onSelect(next);
  };
  const allTicked = selected && rows.length > 0 && rows.every((row) => selected.has(rowKey(row)));
  const span = shown.length + (selected ? 1 : 0) + (actions ? 1 : 0);

  return html`<div class="table-frame">
    <table class=${`table ${narrow ? "cards" : ""}`} role="table" aria-label=${label} aria-rowcount=${(total ?? (more ? -2 : rows.length)) + 1} style=${{ "--row-height": `${height}px` }}>
      <thead role="rowgroup"><tr role="row" aria-rowindex="1">
        ${selected && html`<th role="columnheader" class="tick"><input type="checkbox" aria-label=${t("Select all that are shown")} checked=${allTicked} onChange=${() => onSelect(allTicked ? new Set() : new Set(rows.map(rowKey)))} /></th>`}
        ${columns.map((column) => html`<th key=${column.key} role="columnheader" scope="col" class=${column.align ?? ""} style=${column.width ? { width: column.width } : undefined}>${column.title}</th>`)}
        ${actions && html`<th role="columnheader" class="end" style=${{ width: actionsWidth }}><span class="hidden">${t("Actions")}</span></th>`}
      </tr></thead>
      <tbody role="rowgroup" ref=${body} onKeyDown=${onKeyDown}>
        ${from > 0 && html`<tr key="before" role="presentation" aria-hidden="true" class="space" style=${{ height: `${from * height}px` }}><td colspan=${span}></td></tr>`}
        ${rows.slice(from, to).map((row, index) => {
          const key = rowKey(row);
          return html`<tr key=${key} role="row" aria-rowindex=${from + index + 2} class=${`${rowClass?.(row) ?? ""} ${selected?.has(key) ? "selected" : ""}`}>
            ${selected && html`<td role="cell" class="tick"><input type="checkbox" aria-label=${t("Select {name}", { name: key })} checked=${selected.has(key)} onChange=${() => toggle(key)} /></td>`}
            ${shown.map((column, place) => html`<td key=${column.key} role="cell" class=${`${column.align ?? ""} ${column.mono ? "mono" : ""} ${place ? "" : "first"}`}>
              ${narrow && place > 0 && html`<span class="cell-title" aria-hidden="true">${column.title}</span>`}
              ${place === 0 && rowHref ? html`<a class="row-link" href=${rowHref(row)}>${column.render(row)}</a>` : html`<span class="cell-value">${column.render(row)}</span>`}
            </td>`)}
            ${actions && html`<td role="cell" class="end actions"><${RowActions} all=${actions(row)} /></td>`}
          </tr>`;
        })}
        ${to < rows.length && html`<tr key="after" role="presentation" aria-hidden="true" class="space" style=${{ height: `${(rows.length - to) * height}px` }}><td colspan=${span}></td></tr>`}
      </tbody>
    </table>
    ${error && html`<${Failure} error=${error} retry=${reload} />`}
    ${!error && (loading || more) && html`<div class="table-foot">${loading ? html`<span class="muted">${t("Loading…")}</span>` : html`<${Button} kind="quiet" size="small" onClick=${loadMore}>${t("Load more")}</${Button}>`}</div>`}
  </div>`;
}

function RowActions({ all }) {
  const direct = all.length > 3 ? all.slice(0, 2) : all;
  return html`<${Fragment}>
    ${direct.map(({ label, onClick, href, tone, disabled, busy }) => html`<${Button} key=${label} kind="quiet" size="small" class=${tone ?? ""} href=${href} disabled=${disabled} busy=${busy} onClick=${onClick}>${label}</${Button}>`)}
    ${all.length > 3 && html`<${Menu} iconOnly icon="more" label=${t("More")} items=${all.slice(2)} class="at-end" />`}
  </${Fragment}>`;
}
