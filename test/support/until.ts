/** Waiting for what can be observed: the only waiting a test does. */

/**
 * Asks `probe` until it answers with something other than undefined or false.
 * @param deadlineMs a watchdog, about five times what is expected; the failure names what was waited for.
 */
export async function until<T>(
  what: string,
  deadlineMs: number,
  probe: () => T | Promise<T>,
): Promise<NonNullable<Exclude<T, false>>> {
  const end = performance.now() + deadlineMs;
  let last: unknown;
  for (;;) {
    try {
      const answer = await probe();
      if (answer !== undefined && answer !== false && answer !== null) return answer as NonNullable<Exclude<T, false>>;
      last = answer;
    } catch (thrown) {
      last = thrown;
    }
    if (performance.now() > end)
      throw new Error(`waited ${deadlineMs} ms in vain for: ${what} (last seen: ${String(last)})`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
