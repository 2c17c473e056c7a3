/** Progress, a line at a time. */
export type Say = (line: string) => void;

export const sayNothing: Say = () => {};

/** To standard error, so that standard output holds results alone. */
export function sayOnTerminal(): Say {
  return (line) => {
    process.stderr.write(`${line}\n`);
  };
}

/** At most one line in `everyMs`, for what changes often. */
export function sayNowAndThen(say: Say, everyMs: number, now: () => number = () => performance.now()): Say {
  let last = -Infinity;
  return (line) => {
    if (now() - last < everyMs) return;
    last = now();
    say(line);
  };
}
