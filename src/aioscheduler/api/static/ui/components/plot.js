import { html, useEffect, useId, useRef, useState } from "../lib.js";
import { clock, number } from "../format.js";
import { language } from "../i18n.js";
import { useStore } from "../lib.js";

let loading = null;
const library = () => (loading ??= import("uplot").then((module) => module.default));

/** The colour a custom property stands for now: the canvas knows no properties. */
function colour(name) {
  const probe = document.createElement("span");
  probe.style.color = `var(${name})`;
  document.body.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}

const faint = (found, alpha) => found.replace(/^rgb\((.*)\)$/, `rgba($1, ${alpha})`);

/** Where values stand alone, so that no line leads to them. */
const lonely = (values) => values.flatMap((one, at) => (one != null && values[at - 1] == null && values[at + 1] == null ? [at] : []));

/**
 * Curves or bars over time.
 *
 * label: what it shows, for everybody. times: milliseconds, rising. series: `{label, values, colour: "--accent", kind:
 * "line" | "bars", told}`, null where there is no value; `told` are the values to say where others are drawn (the upper part
 * of stacked bars). format(value): for the axis and the readout. summary: a sentence for those
 * who do not see it (the values follow in a table that is not shown).
 */
export function Plot({ label, times, series, format = number, height = 176, summary, timeFormat = clock, min = 4 }) {
  const box = useRef(null);
  const plot = useRef(null);
  const [theme, setTheme] = useState(0);
  const [at, setAt] = useState(null);
  const speech = useStore(language);
  const id = useId();
  const data = [times.map((one) => one / 1000), ...series.map((one) => one.values)];
  const latest = useRef(null);
  latest.current = { data, format, timeFormat };
  const shape = JSON.stringify([series.map((one) => [one.colour, one.kind]), height, theme, speech, min]);

  useEffect(() => {
    const changed = () => setTheme((old) => old + 1);
    const query = matchMedia("(prefers-color-scheme: dark)");
    query.addEventListener("change", changed);
    addEventListener("themechange", changed);
    return () => {
      query.removeEventListener("change", changed);
      removeEventListener("themechange", changed);
    };
  }, []);

  useEffect(() => {
    let gone = false;
    let watcher = null;
    library().then((UPlot) => {
      if (gone || !box.current) return;
      const [muted, line] = [colour("--muted"), colour("--line")];
      const axis = { stroke: muted, grid: { stroke: line, width: 1 }, ticks: { show: false }, font: "11px system-ui, sans-serif" };
      const bars = series.some((one) => one.kind === "bars");
      // Room for the halves of the first and the last bar.
      const half = () => ((latest.current.data[0][1] ?? 0) - (latest.current.data[0][0] ?? 0)) / 2;
      const options = {
        width: box.current.clientWidth,
        height,
        padding: [8, 16, 0, 0],
        legend: { show: false },
        cursor: { y: false, points: { size: 6 }, drag: { setScale: false, x: false, y: false } },
        // Some room, so that a quiet hour does not fill the height with noise.
        scales: {
          x: { range: (_, low, high) => [low - half(), high + half()] },
          y: { range: (_, low, high) => [0, Math.max(min, (high ?? 0) * 1.1)] },
        },
        axes: [
          { ...axis, grid: { show: false }, size: 26, space: 72, values: (_, all) => all.map((one) => latest.current.timeFormat(one * 1000)) },
          { ...axis, size: (_, labels) => 16 + 6.5 * Math.max(3, ...(labels ?? []).map((one) => one.length)), space: 36, gap: 6, values: (_, all) => all.map((one) => latest.current.format(one)) },
        ],
        series: [
          {},
          ...series.map((one) => {
            const stroke = colour(one.colour);
            if (one.kind === "bars") {
              return { stroke, fill: faint(stroke, 0.75), width: 0, points: { show: false }, paths: UPlot.paths.bars({ size: [0.7, 24], radius: 0.2 }) };
            }
            return { stroke, width: 1.75, fill: one.fill ? faint(stroke, 0.1) : undefined, spanGaps: false, points: { size: 5, show: false, filter: (drawn, at) => lonely(drawn.data[at]) } };
          }),
        ],
        hooks: { setCursor: [(own) => setAt(own.cursor.idx ?? null)] },
      };
      plot.current = new UPlot(options, latest.current.data, box.current);
      watcher = new ResizeObserver(([entry]) => {
        const width = Math.floor(entry.contentRect.width);
        if (width > 0 && width !== plot.current.width) plot.current.setSize({ width, height });
      });
      watcher.observe(box.current);
    });
    return () => {
      gone = true;
      watcher?.disconnect();
      plot.current?.destroy();
      plot.current = null;
    };
  }, [shape]);

  useEffect(() => plot.current?.setData(latest.current.data), [JSON.stringify(data)]);

  const read = at !== null && at < times.length ? at : null;
  return html`<figure class="plot" aria-labelledby=${id}>
    <figcaption id=${id} class="hidden">${label}. ${summary}</figcaption>
    <div class="plot-legend" aria-hidden="true">
      ${series.map((one) => html`<span key=${one.label}><i style=${{ background: `var(${one.colour})` }}></i>${one.label}${read !== null ? html` <b>${format((one.told ?? one.values)[read])}</b>` : ""}</span>`)}
      <span class="plot-at">${read !== null ? timeFormat(times[read]) : ""}</span>
    </div>
    <div class="plot-canvas" ref=${box} style=${{ height: `${height}px` }} aria-hidden="true"></div>
    <table class="hidden">
      <caption>${label}</caption>
      <thead><tr><th></th>${series.map((one) => html`<th key=${one.label} scope="col">${one.label}</th>`)}</tr></thead>
      <tbody>${times.map((one, index) => html`<tr key=${one}><th scope="row">${timeFormat(one)}</th>${series.map((each) => html`<td key=${each.label}>${format((each.told ?? each.values)[index])}</td>`)}</tr>`)}</tbody>
    </table>
  </figure>`;
}
