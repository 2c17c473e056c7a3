/** Errors as typed data: every room has a union of `{code, …fields}`, plain enough to cross threads and to compare in tests. */

/** What every failure carries: a stable code, `room.some-words`, beside its own fields. */
export interface ErrorData {
  readonly code: string;
}

/**
 * An error whose `type` is a member of its room's union, so that a switch on `error.type.code` narrows the fields.
 * What a peer can cause is returned; only our own bugs are thrown.
 */
export class TypedError<T extends ErrorData> extends Error {
  readonly type: T;

  constructor(type: T, options?: ErrorOptions) {
    super(describe(type), options);
    this.name = new.target.name;
    this.type = type;
  }
}

/** `code key=value key=value`, for logs and terminals. */
export function describe(type: ErrorData): string {
  const fields = Object.entries(type).filter(([key]) => key !== "code");
  return [
    type.code,
    ...fields.map(([key, value]) => `${key}=${typeof value === "string" ? value : JSON.stringify(value)}`),
  ].join(" ");
}

/** The sentence of anything that was thrown. */
export function messageOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}
