/** Code that is as it will be: Node compiles what serves connections in several steps, over thousands of them in each thread, and a node's agent runs for weeks. */

/** Until twice in a row no load was quicker than the best before it. @param load answers how many a second. */
export async function warm(load: () => Promise<number>): Promise<void> {
  let best = 0;
  for (let loads = 0, noBetter = 0; loads < mostLoads && noBetter < 2; loads++) {
    const perSecond = await load();
    noBetter = perSecond > best * worthWaitingFor ? 0 : noBetter + 1;
    best = Math.max(best, perSecond);
  }
}

const mostLoads = 8;
const worthWaitingFor = 1.03;
