/** docs/close-reasons.md, rendered from the catalogue so that text and code cannot part. */
import { closeReason, closeReasons, retiredCloseCodes, type CloseCode, type CloseReason } from "./close-reasons.ts";

/** The whole page, as Markdown that prettier leaves alone. */
export function renderCatalogue(): string {
  const codes = Object.keys(closeReasons) as CloseCode[];
  return `${[
    "# Close reasons",
    "Every connection that the agent carries ends with exactly one of these codes: in the access log (`reason`), in the metrics (`response_flags`), in the agent's dump and in `ambientctl explain`. Codes are permanent. This page is rendered from `core/decision/close-reasons.ts` by `node scripts/write-close-reasons.ts`.",
    "**Side** is who has to act: the `client` application, `us` (the agent), the `peer` at the other end, whoever wrote a `policy`, or the `control` plane. **Retry** is what the agent itself may do: `never`; on another endpoint `before-first-byte` was relayed; or once on a fresh tunnel (`reused-tunnel-only`). **Answer** is the status a CONNECT gets where the reason is found before the answer.",
    ...codes.map((code) => renderEntry(code, closeReason(code))),
    "## Retired codes",
    retiredCloseCodes.length === 0 ? "None." : retiredCloseCodes.map((code) => `- \`${code}\``).join("\n"),
  ].join("\n\n")}\n`;
}

function renderEntry(code: CloseCode, reason: CloseReason): string {
  const facts = [
    `side \`${reason.side}\``,
    `level \`${reason.level}\``,
    `flag \`${reason.flag}\``,
    `retry \`${reason.retry}\``,
    ...(reason.status === undefined ? [] : [`answer \`${reason.status}\``]),
  ];
  return [`## ${code}`, reason.sentence, `_Next:_ ${reason.nextStep}`, facts.join(" · ")].join("\n\n");
}
