/** Changes to nf_tables, all or nothing. */
import { LinuxError } from "../errno.ts";
import { encodeTransaction } from "./encode.ts";
import type { NftOperation } from "./model.ts";
import { exchange, NLMSG_ERROR, verdictError, verdictOf } from "./nfnetlink.ts";

/**
 * Applies the operations in that namespace in one transaction; packets see the state before or after, never between.
 * The error names the operation that the kernel refused first ("nft add-rule", on "inet table chain", EEXIST); nothing has
 * then changed. Done when the promise is made: the kernel answers synchronously.
 */
export async function applyTransaction(
  netns: number | undefined,
  operations: readonly NftOperation[],
): Promise<LinuxError | undefined> {
  if (operations.length === 0) return undefined;
  const answers = exchange(netns, encodeTransaction(operations, FIRST));
  if (answers instanceof LinuxError) return answers;
  let acknowledged = false;
  for (const answer of answers) {
    if (answer.type !== NLMSG_ERROR) continue;
    const verdict = verdictOf(answer);
    const operation = operations[answer.sequence - FIRST - 1];
    if (verdict.errno !== 0)
      return verdictError(
        `nft ${operation?.kind ?? "commit"}`,
        verdict,
        operation ? subject(operation) : "transaction",
      );
    if (answer.sequence === FIRST + operations.length) acknowledged = true;
  }
  return acknowledged ? undefined : new LinuxError({ code: "linux.no-answer", call: "nft commit" });
}

function subject(operation: NftOperation): string {
  const within = "chain" in operation ? ` ${operation.chain}` : "set" in operation ? ` ${operation.set}` : "";
  return `${operation.family} ${operation.table}${within}`;
}

/** Every exchange has a socket of its own, so the numbers may begin anew. */
const FIRST = 1;
