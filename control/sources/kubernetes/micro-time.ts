/** meta/v1 MicroTime: RFC 3339 in UTC with exactly six decimals, as the API server insists. */
export function microTime(wallMs: number): string {
  return new Date(wallMs).toISOString().replace("Z", "000Z");
}
