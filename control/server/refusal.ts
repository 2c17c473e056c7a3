/** What a caller hears when it doesn't get what it asked for. Reasons that would help to guess stay in our log. */
import { status } from "@grpc/grpc-js";

export interface Refusal {
  readonly code: status;
  readonly details: string;
}

export const unauthenticated: Refusal = { code: status.UNAUTHENTICATED, details: "not authenticated" };
export const notReady: Refusal = { code: status.UNAVAILABLE, details: "not synced yet: try again" };
export const notReviewed: Refusal = { code: status.UNAVAILABLE, details: "can't tell who calls: try again" };
export const closing: Refusal = { code: status.UNAVAILABLE, details: "control is closing" };
export const overloaded: Refusal = { code: status.RESOURCE_EXHAUSTED, details: "too much at once: try again" };
export const tooManyStreams: Refusal = { code: status.RESOURCE_EXHAUSTED, details: "too many streams" };

export function invalid(details: string): Refusal {
  return { code: status.INVALID_ARGUMENT, details };
}

export function denied(details: string): Refusal {
  return { code: status.PERMISSION_DENIED, details };
}
