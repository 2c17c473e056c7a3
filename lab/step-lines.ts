/** What happens in the lab, as lines for a person. */
import type { TimedEvent } from "./events.ts";

/** Undefined for what a person need not see. */
export function stepLine(event: TimedEvent): string | undefined {
  const text = sentence(event);
  return text === undefined ? undefined : `${String(event.atMs).padStart(6)} ms  ${text}`;
}

function sentence(event: TimedEvent): string | undefined {
  switch (event.kind) {
    case "step":
      return `${event.name} (${event.tookMs} ms)`;
    case "pod":
      return event.ready ? `pod ${event.pod} is ready` : undefined;
    case "pod-gone":
      return `pod ${event.pod} is gone`;
    case "process":
      return event.state.phase === "waiting"
        ? `${event.name} ended (${event.state.last.how}), starts again`
        : undefined;
    case "problem":
      return event.sentence;
    case "built":
      return "built; pods are starting";
    case "ready":
      return "everything runs";
    case "refused":
      return undefined; // said by whoever asked for the lab
  }
}
