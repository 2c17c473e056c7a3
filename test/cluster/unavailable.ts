/** Why there can be no cluster here: not a failure of what is tested, so tests that meet it skip and say it. */
export class Unavailable {
  /** One sentence that names the missing part. */
  readonly missing: string;

  constructor(missing: string) {
    this.missing = missing;
  }
}
