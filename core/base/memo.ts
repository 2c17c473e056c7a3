/** What need not be worked out with every connection. */

/** What a pure function has answered lately: for texts that come again with every connection, and whose answer costs more than a look-up. */
export class Memo<T> {
  readonly #compute: (text: string) => T;
  readonly #most: number;
  readonly #longest: number;
  #recent = new Map<string, T>();
  /** Those of the time before: what is still asked for moves over, the rest goes with the next turn. */
  #earlier = new Map<string, T>();

  /**
   * @param most answers kept, up to twice as many for a while. @param longest UTF-16 units of a text that is kept: strangers choose texts,
   * and both bound what they can fill.
   */
  constructor(compute: (text: string) => T, most: number, longest: number) {
    this.#compute = compute;
    this.#most = most;
    this.#longest = longest;
  }

  /** @returns the same object for the same text, as long as it is kept: not to be written to. */
  of(text: string): T {
    const known = this.#recent.get(text);
    if (known !== undefined) return known;
    const before = this.#earlier.get(text);
    const answer = before === undefined ? this.#compute(text) : before;
    if (text.length <= this.#longest) this.#keep(text, answer);
    return answer;
  }

  #keep(text: string, answer: T): void {
    if (this.#recent.size >= this.#most) {
      this.#earlier = this.#recent;
      this.#recent = new Map();
    }
    this.#recent.set(text, answer);
  }
}

/** A function that works out once what follows from an object, and keeps it for as long as there is the object. */
export function oncePerObject<Of extends object, T extends string | object>(compute: (of: Of) => T): (of: Of) => T {
  return oncePerWord(compute, (of) => of);
}

/** The same of an object that may come to say something else: `wordOf` it is another object then. */
export function oncePerWord<Of extends object, T>(compute: (of: Of) => T, wordOf: (of: Of) => object): (of: Of) => T {
  const known = new WeakMap<Of, { readonly word: object; readonly answer: T }>();
  return (of) => {
    const before = known.get(of);
    const word = wordOf(of);
    if (before?.word === word) return before.answer;
    const answer = compute(of);
    known.set(of, { word, answer });
    return answer;
  };
}
