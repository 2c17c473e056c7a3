/** Changes in pods' namespaces, as the reconciler asks for them: rules.ts says what, core/linux does it, errors come back as data. */
import type { Log } from "../../core/base/log.ts";
import { messageOf } from "../../core/base/errors.ts";
import { isLoopback } from "../../core/base/ip.ts";
import { forgetConnections } from "../../core/linux/conntrack.ts";
import { LinuxError } from "../../core/linux/errno.ts";
import { addRoute, deleteRoute } from "../../core/linux/netlink/routes.ts";
import { addRule, deleteRule } from "../../core/linux/netlink/rules.ts";
import { applyTransaction } from "../../core/linux/nftables/apply.ts";
import { hasIpv6, udpEndpoints } from "../../core/linux/procfs.ts";
import { closeDescriptor, duplicateDescriptor } from "../../core/linux/sockets.ts";
import type { CaptureOptions } from "./capture-annotations.ts";
import { cutHeldSockets, heldSockets, type HeldSockets } from "./captured-connections.ts";
import type { KernelTruth } from "./enrolment.ts";
import { CniError } from "./errors.ts";
import { readDrift, readTruth } from "./kernel-truth.ts";
import type { PodNamespaces } from "./pod-namespaces.ts";
import type { PodKernel } from "./reconciler-ports.ts";
import {
  capturedConnections,
  capturedQueries,
  enrolRules,
  podRouting,
  ports,
  releaseRules,
  removeRules,
  type PodRuleOptions,
} from "./rules.ts";

export class NamespaceKernel implements PodKernel {
  readonly #namespaces: PodNamespaces;
  readonly #log: Log;

  constructor(namespaces: PodNamespaces, log: Log) {
    this.#namespaces = namespaces;
    this.#log = log;
  }

  inspect(uid: string): Promise<KernelTruth | CniError> {
    return this.#inside(uid, "inspect", (netns) => readTruth(netns, hasIpv6(netns)));
  }

  route(uid: string): Promise<CniError | undefined> {
    return this.#inside(uid, "route", async (netns) => {
      const { rules, routes } = podRouting(hasIpv6(netns));
      for (const rule of rules) {
        const failure = await addRule({ ...rule, netns });
        if (failure !== undefined) return failure;
      }
      for (const route of routes) {
        const failure = await addRoute({ ...route, netns });
        if (failure !== undefined) return failure;
      }
      return undefined;
    });
  }

  redirect(uid: string, capture: CaptureOptions): Promise<CniError | undefined> {
    return this.#inside(uid, "redirect", async (netns) => {
      const options = ruleOptions(netns, capture);
      const failure = await applyTransaction(netns, enrolRules(options));
      if (failure === undefined && !options.dnsCapture) forgetConnections(netns, ...capturedQueries());
      if (capture.dnsCapture && !options.dnsCapture)
        this.#log.warn({ uid, port: ports.dns }, "queries are not captured: no agent answers them in this pod");
      return failure;
    });
  }

  release(uid: string): Promise<CniError | undefined> {
    return this.#inside(uid, "release", (netns) => applyTransaction(netns, releaseRules()));
  }

  async count(uid: string, addresses: readonly string[]): Promise<HeldSockets | CniError> {
    const held = this.#namespaces.hold(uid);
    if (held instanceof CniError) return held;
    try {
      forgetConnections(held.fd, ...capturedQueries());
      return heldSockets(held.fd, addresses);
    } catch (thrown) {
      return kernelError("count", thrown);
    }
  }

  async remove(uid: string): Promise<CniError | undefined> {
    const removed = await this.#inside(uid, "remove", async (netns) => {
      cutHeldSockets(netns);
      const failure = (await applyTransaction(netns, removeRules())) ?? (await removeRouting(netns));
      // Enrolled anew, a connection that runs by then must not inherit what such an entry says. A kernel that can't be told
      // so lets them expire, within two minutes.
      if (failure !== undefined) return failure;
      for (const [filter, chosen] of capturedConnections()) forgetConnections(netns, filter, chosen);
      return undefined;
    });
    // A namespace that isn't there holds nothing.
    return removed?.type.code === "cni.netns-missing" ? undefined : removed;
  }

  async check(uid: string, capture: CaptureOptions): Promise<"same" | "drifted" | "replaced" | CniError> {
    if (this.#namespaces.replaced(uid)) return "replaced";
    const found = await this.#inside(uid, "check", (netns) => readDrift(netns, ruleOptions(netns, capture)));
    if (found instanceof CniError) return found;
    return found.length === 0 ? "same" : "drifted";
  }

  close(uid: string): void {
    this.#namespaces.release(uid);
  }

  /** Works on a descriptor of its own: the held one may be closed while an answer is awaited, and its number used again. */
  async #inside<T>(uid: string, step: string, body: (netns: number) => Promise<T | LinuxError>): Promise<Kept<T>> {
    const held = this.#namespaces.hold(uid);
    if (held instanceof CniError) return held;
    const netns = duplicateDescriptor(held.fd);
    if (netns instanceof LinuxError) return kernelError(step, netns);
    try {
      const result = await body(netns);
      return result instanceof LinuxError ? kernelError(step, result) : (result as Kept<T>);
    } catch (thrown) {
      return kernelError(step, thrown);
    } finally {
      closeDescriptor(netns);
    }
  }
}

/** Queries are captured where somebody answers them: an agent that does not must not take a pod's DNS away. */
function ruleOptions(netns: number, capture: CaptureOptions): PodRuleOptions {
  const dnsCapture =
    capture.dnsCapture && udpEndpoints(netns).some(({ address, port }) => port === ports.dns && isLoopback(address));
  return { ...capture, dnsCapture, ipv6: hasIpv6(netns) };
}

type Kept<T> = Exclude<T, LinuxError> | CniError;

/** Both families, whatever the namespace speaks now: it may have spoken more when they were written. */
async function removeRouting(netns: number): Promise<LinuxError | undefined> {
  const { rules, routes } = podRouting(true);
  for (const rule of rules) {
    const failure = await deleteRule({ ...rule, netns });
    if (failure !== undefined && !gone.has(failure.errno ?? "")) return failure;
  }
  for (const route of routes) {
    const failure = await deleteRoute({ ...route, netns });
    if (failure !== undefined && !gone.has(failure.errno ?? "")) return failure;
  }
  return undefined;
}

function kernelError(step: string, thrown: unknown): CniError {
  return new CniError({ code: "cni.kernel", step, cause: messageOf(thrown) });
}

/** There is none; or the kernel has no such family. */
const gone: ReadonlySet<string> = new Set(["ENOENT", "ESRCH", "EAFNOSUPPORT", "EOPNOTSUPP"]);
