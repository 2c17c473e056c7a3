/** What the shell is told. Scripts rely on these: they never change meaning. */
export const exitCodes = {
  ok: 0,
  /** The question was answered, and the answer is no. */
  failed: 1,
  /** The question could not be asked: a bad flag, nothing to talk to. */
  unusable: 2,
  /** Answered, but not by everybody who was asked: standard error names who is missing. */
  partly: 3,
} as const;
