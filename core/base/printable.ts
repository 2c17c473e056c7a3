/** Text that strangers had a hand in, made fit for a line of a log, a label or a terminal. */

/** UTF-16 units: more than this of one text a line is not worth. */
export const mostPrintable = 1_024;

/**
 * The text with every control character (C0, DEL, C1, line and paragraph separators, bidirectional overrides, halves of pairs) written
 * as `\u001b`, and cut where it would be longer than `most` UTF-16 units. What is harmless comes back as it is.
 */
export function printable(text: string, most = mostPrintable): string {
  const short = text.length <= most;
  if (short && !unprintable.test(text)) return text;
  const escaped = (short ? text : text.slice(0, most)).replace(everyUnprintable, escapeOf);
  return short && escaped.length <= most ? escaped : `${escaped.slice(0, most - 1).toWellFormed()}…`;
}

function escapeOf(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;
}

const pattern =
  /[\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/;
const unprintable = pattern;
const everyUnprintable = new RegExp(pattern, "g");
