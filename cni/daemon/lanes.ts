/** At most so many at a time, in order of asking: 250 pods at once must not open 250 netlink sockets. */
export class Lanes {
  #free: number;
  readonly #waiting: (() => void)[] = [];

  constructor(width: number) {
    this.#free = width;
  }

  async run<T>(body: () => Promise<T>): Promise<T> {
    if (this.#free > 0) {
      this.#free -= 1;
    } else {
      const turn = Promise.withResolvers<void>();
      this.#waiting.push(turn.resolve);
      await turn.promise;
    }
    try {
      return await body();
    } finally {
      const next = this.#waiting.shift();
      // The lane is handed on, not freed: nobody can slip in between.
      if (next === undefined) this.#free += 1;
      else next();
    }
  }
}
