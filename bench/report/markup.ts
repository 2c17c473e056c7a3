/** HTML and SVG as text, safely: everything that is no markup is escaped on its way in. */

/** Text that is markup already. */
export interface Markup {
  readonly markup: string;
}

export type Attributes = Readonly<Record<string, string | number | undefined>>;

/** An attribute that is undefined is left out. Elements without content close themselves, as XML wants and HTML allows. */
export function element(name: string, attributes: Attributes, ...children: readonly (Markup | string)[]): Markup {
  const written = Object.entries(attributes).flatMap(([key, value]) =>
    value === undefined ? [] : [` ${key}="${escaped(typeof value === "number" ? rounded(value) : value)}"`],
  );
  const opening = `<${name}${written.join("")}`;
  if (empty.has(name)) return { markup: `${opening}/>` };
  return { markup: `${opening}>${children.map(textOf).join("")}</${name}>` };
}

export function textOf(child: Markup | string): string {
  return typeof child === "string" ? escaped(child) : child.markup;
}

export function escaped(text: string): string {
  return text.replace(/[&<>"']/g, (character) => entities[character] ?? character);
}

function rounded(value: number): string {
  return String(Math.round(value * 100) / 100);
}

const entities: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&#39;",
};
/** Of HTML and SVG, those that we write without content. */
const empty: ReadonlySet<string> = new Set(["meta", "line", "rect", "circle", "path", "br"]);
