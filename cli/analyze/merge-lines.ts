/** Several sequences, each in order of time, as one. */

/** Holds one item of each source. @param timeOf text that sorts as time does; items of equal time come in order of their sources. */
export async function* mergeByTime<T>(
  sources: readonly AsyncIterable<T>[],
  timeOf: (item: T) => string,
): AsyncGenerator<T> {
  const iterators = sources.map((source) => source[Symbol.asyncIterator]());
  const heads = await Promise.all(iterators.map((iterator) => iterator.next()));
  for (;;) {
    let first: number | undefined;
    let firstTime = "";
    for (const [index, head] of heads.entries()) {
      if (head.done === true) continue;
      const time = timeOf(head.value);
      if (first !== undefined && time >= firstTime) continue;
      first = index;
      firstTime = time;
    }
    if (first === undefined) return;
    const head = heads[first];
    if (head?.done !== true && head !== undefined) yield head.value;
    heads[first] = (await iterators[first]?.next()) ?? { done: true, value: undefined };
  }
}
