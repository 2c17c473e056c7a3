/** One run as a page that opens from disk: charts, the numbers beneath them, and nothing that has to be fetched. */
import { figure, figures, type Figure } from "../figures.ts";
import type { SideName } from "../side.ts";
import { verdictWord, type PartVerdict, type Verdict } from "../targets.ts";
import { curveGroups, type Curve } from "../growth/curves.ts";
import { barChart, sideClass } from "./bar-chart.ts";
import { power } from "./curve-table.ts";
import { logChart } from "./log-chart.ts";
import { machineLine } from "./machine.ts";
import { element, textOf, type Markup } from "./markup.ts";
import { atMinute, numeral, quantity, ratio } from "./numbers.ts";
import { pageStyle } from "./page-style.ts";
import { sideTitles, type Report } from "./report.ts";
import type { Row } from "./rows.ts";

export function renderPage(report: Report): string {
  const { verdicts, notes } = report;
  const page = element(
    "html",
    { lang: "en" },
    element(
      "head",
      {},
      element("meta", { charset: "utf-8" }),
      element("meta", { name: "viewport", content: "width=device-width, initial-scale=1" }),
      element("title", {}, title),
      // Of ours alone: nothing in it needs escaping.
      { markup: `<style>${pageStyle}</style>` },
    ),
    element(
      "body",
      {},
      element(
        "main",
        {},
        header(report),
        ...(verdicts.length === 0 ? [] : [targets(verdicts)]),
        ...groups(report),
        ...curveSections(report.curves),
        ...(notes.length === 0 ? [] : [noteList(notes)]),
      ),
    ),
  );
  return `<!doctype html>\n${textOf(page)}\n`;
}

function header({ machine, startedAt, rounds, seconds, workers, sides, rows }: Report): Markup {
  const shown = sides.filter((side) => rows.some((row) => row.side === side));
  const times = rounds === 1 ? "once" : `${rounds} times`;
  const how =
    `Each figure was measured ${times}, every side in turn; loads last ${seconds} s, proxies have ${workers} workers. ` +
    "Bars are medians, whiskers go from the least to the most.";
  return element(
    "header",
    {},
    element("h1", {}, title),
    element("p", { class: "soft" }, machineLine(machine)),
    element("p", { class: "soft" }, element("time", { datetime: `${startedAt}Z` }, atMinute(startedAt))),
    element("p", {}, how),
    element("ul", { class: "legend" }, ...shown.map(legend)),
  );
}

function legend(side: SideName): Markup {
  const swatch = element(
    "svg",
    { class: sideClass(side), viewBox: "0 0 10 10", "aria-hidden": "true" },
    element("rect", { class: "bar", width: 10, height: 10, rx: 2 }),
  );
  return element("li", {}, swatch, element("strong", {}, side), ` ${sideTitles[side]}`);
}

function targets(verdicts: readonly Verdict[]): Markup {
  const met = verdicts.filter(({ over }) => over <= 1).length;
  const rows = verdicts.map(({ target, parts, over }) =>
    element(
      "tr",
      {},
      element("th", { scope: "row" }, target.title),
      element("td", {}, parts.map(measuredPart).join("; ")),
      element("td", {}, parts.map(wantedPart).join("; ")),
      element("td", { class: over <= 1 ? "met" : "missed" }, verdictWord(over)),
    ),
  );
  return element(
    "section",
    {},
    element("h2", {}, `Targets: ${met} of ${verdicts.length} met`),
    tableOf(["Target", "Measured", "Wanted", "Verdict"], rows),
  );
}

function measuredPart({ part, value }: PartVerdict): string {
  return value === undefined ? "not measured" : quantity(value, figure(part.figure).unit);
}

function wantedPart({ part, limit }: PartVerdict): string {
  const { unit, better } = figure(part.figure);
  const sign = better === "lower" ? "≤" : "≥";
  const of = "times" in part ? ` (${part.times} × ${part.peer})` : "";
  return limit === undefined ? `${sign} ?${of}` : `${sign} ${quantity(limit, unit)}${of}`;
}

function groups({ rows, verdicts }: Report): Markup[] {
  const names = [...new Set(figures.map(({ group }) => group))];
  const limits = new Map(
    verdicts.flatMap(({ parts }) => parts.map(({ part, limit }) => [part.figure, limit] as const)),
  );
  return names.flatMap((name) => {
    const shown = figures.filter(({ id, group }) => group === name && rows.some((row) => row.figure === id));
    return shown.length === 0 ? [] : [group(name, shown, rows, limits)];
  });
}

function group(
  name: string,
  shown: readonly Figure[],
  rows: readonly Row[],
  limits: ReadonlyMap<string, number | undefined>,
): Markup {
  const charts = shown.map((one) => {
    const own = rows.filter((row) => row.figure === one.id);
    const caption = element("figcaption", {}, one.title, " ", element("span", {}, `${one.better} is better`));
    return element("figure", {}, caption, barChart(one, own, limits.get(one.id)));
  });
  const numbers = element(
    "details",
    {},
    element("summary", {}, "Numbers"),
    tableOf(
      ["Figure", "Side", "Median", "Min", "Max", "Unit", "In terms of the others"],
      shown.flatMap((one) => lines(one, rows)),
      2,
    ),
  );
  return element("section", {}, element("h2", {}, name), element("div", { class: "charts" }, ...charts), numbers);
}

function lines(one: Figure, rows: readonly Row[]): Markup[] {
  return rows
    .filter((row) => row.figure === one.id)
    .map((row) =>
      element(
        "tr",
        {},
        element("th", { scope: "row" }, one.title),
        element("td", {}, row.side),
        ...[row.median, row.min, row.max].map((value) => element("td", { class: "number" }, numeral(value))),
        element("td", {}, one.unit),
        element(
          "td",
          {},
          Object.entries(row.vs)
            .map(([side, times]) => `${ratio(times)} ${side}`)
            .join(", "),
        ),
      ),
    );
}

/** @param firstNumber column of the first of the columns of numbers, if there are any. */
function tableOf(
  headings: readonly string[],
  rows: readonly Markup[],
  firstNumber = Number.POSITIVE_INFINITY,
  numbers = 3,
): Markup {
  const heads = headings.map((text, i) => {
    const isNumber = i >= firstNumber && i < firstNumber + numbers;
    return element("th", { scope: "col", class: isNumber ? "number" : undefined }, text);
  });
  const table = element("table", {}, element("thead", {}, element("tr", {}, ...heads)), element("tbody", {}, ...rows));
  return element("div", { class: "scroll" }, table);
}

/** How cost grows: a section for each thing that there are more and more of. */
function curveSections(curves: readonly Curve[]): Markup[] {
  return curveGroups(curves).map(({ name, sizes, lines }) => {
    const charts = lines.flatMap(({ curve }) => {
      const chart = logChart(curve);
      const grows = element("span", {}, `${figure(curve.figure).unit}, grows with ${power(curve.exponent)}`);
      const caption = element("figcaption", {}, figure(curve.figure).title, " ", grows);
      return chart === undefined ? [] : [element("figure", {}, caption, chart)];
    });
    const rows = lines.map(({ curve, medians }) => curveLine(curve, medians));
    const headings = ["Figure", "Unit", "Grows with", ...sizes.map((n) => numeral(n))];
    const numbers = element("details", {}, element("summary", {}, "Numbers"), tableOf(headings, rows, 3, sizes.length));
    const axes = "Both axes are logarithmic; the dashed line grows in proportion. Exponents are of the last decade.";
    return element(
      "section",
      {},
      element("h2", {}, name),
      element("p", { class: "soft" }, axes),
      element("div", { class: "charts" }, ...charts),
      numbers,
    );
  });
}

function curveLine({ figure: id, exponent }: Curve, medians: readonly (number | undefined)[]): Markup {
  const { title, unit } = figure(id);
  const cells = medians.map((median) =>
    element("td", { class: "number" }, median === undefined ? "" : numeral(median)),
  );
  const heading = element("th", { scope: "row" }, title);
  return element("tr", {}, heading, element("td", {}, unit), element("td", {}, power(exponent)), ...cells);
}

function noteList(notes: readonly string[]): Markup {
  return element(
    "section",
    {},
    element("h2", {}, "Notes"),
    element("ul", {}, ...notes.map((note) => element("li", {}, note))),
  );
}

const title = "ambientd beside its peers";
