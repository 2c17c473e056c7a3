/** Trace contexts by the thousand: randomness is drawn in blocks, not by a system call for each connection. */
import { randomFillSync } from "node:crypto";
import { newTraceContext, traceSeedLength, type TraceContext } from "../../core/protocol/hbone/trace-context.ts";

const block = Buffer.alloc(traceSeedLength * 256);
let used = block.length;

export function nextTraceContext(): TraceContext {
  if (used + traceSeedLength > block.length) {
    randomFillSync(block);
    used = 0;
  }
  const context = newTraceContext(block.subarray(used, used + traceSeedLength));
  used += traceSeedLength;
  return context;
}
