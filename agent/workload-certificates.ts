/**
 * Which identities this node needs, and that the workers have a certificate of each: those of the pods served here, and of the
 * workloads that control says will be. Asked for before the first connection needs them; forgotten when the last pod leaves.
 */
import { describe } from "../core/base/errors.ts";
import type { Log } from "../core/base/log.ts";
import { formatIdentity, type Identity } from "../core/protocol/spiffe/identity.ts";
import type { MeshWorkload } from "../core/protocol/wds/workload.ts";
import type { PodInfo } from "../core/protocol/zds/messages.ts";
import { CertificateError, type WorkloadCertificate } from "../control/client/certificates/certificate.ts";
import type { CertificateManager, FetchPriority } from "../control/client/certificates/manager.ts";
import type { ToWorker } from "./worker-messages.ts";

/** What of the mesh is asked for here: what is on this node, and what a pod is called. */
export interface NodeWorkloads {
  local(): Iterable<MeshWorkload>;
  workloadOf(namespace: string, name: string, serviceAccount: string): MeshWorkload | undefined;
}

export interface WorkloadCertificatesModules {
  readonly manager: CertificateManager;
  readonly mesh: NodeWorkloads;
  readonly broadcast: (message: ToWorker) => void;
  readonly log: Log;
}

export class WorkloadCertificates {
  readonly #modules: WorkloadCertificatesModules;
  readonly #held = new Map<string, WorkloadCertificate>();
  #needed = new Map<string, Identity>();

  constructor(modules: WorkloadCertificatesModules) {
    this.#modules = modules;
    modules.manager.onChange((change) => {
      if (change.kind === "issued") return this.#issued(change.certificate);
      const uri = formatIdentity(change.identity);
      this.#held.delete(uri);
      modules.broadcast({ kind: "certificate-dropped", uri, detail: change.kind });
    });
  }

  /** Brings what is asked for in line with what is needed: after a change of pods or of the mesh. */
  update(pods: Iterable<PodInfo>): void {
    const { mesh } = this.#modules;
    const needed = new Map<string, Identity>();
    const fetches: { readonly identity: Identity; readonly priority: FetchPriority }[] = [];
    const need = (identity: Identity, priority: FetchPriority): void => {
      const uri = formatIdentity(identity);
      if (needed.has(uri)) return;
      needed.set(uri, identity);
      if (!this.#needed.has(uri)) fetches.push({ identity, priority });
    };
    for (const { namespace, name, serviceAccount } of pods) {
      const workload = mesh.workloadOf(namespace, name, serviceAccount);
      if (workload !== undefined) need({ trustDomain: workload.trustDomain, namespace, serviceAccount }, "realtime");
    }
    for (const workload of mesh.local()) {
      if (workload.tunnel !== "hbone" && !workload.nativeTunnel) continue;
      const { trustDomain, namespace, serviceAccount } = workload;
      need({ trustDomain, namespace, serviceAccount }, "warmup");
    }
    for (const [uri, identity] of this.#needed) if (!needed.has(uri)) this.#modules.manager.forget(identity);
    this.#needed = needed;
    for (const { identity, priority } of fetches) this.#fetch(identity, priority);
  }

  /** A worker has a connection that waits for it. Only an identity of this node's pods can be: nothing else is asked for. */
  wanted(identity: Identity): void {
    if (this.#needed.has(formatIdentity(identity))) this.#fetch(identity, "realtime");
  }

  /** What a new worker is told. */
  greeting(): ToWorker[] {
    return [...this.#held.values()].map(delivery);
  }

  #fetch(identity: Identity, priority: FetchPriority): void {
    void this.#modules.manager.certificate(identity, priority).then((result) => {
      if (!(result instanceof CertificateError)) {
        // It may have been in hand all the time: nothing was announced then.
        if (this.#held.get(formatIdentity(identity)) !== result) this.#issued(result);
        return;
      }
      const uri = formatIdentity(identity);
      // The queue of prefetches is short; who needs it will ask.
      if (result.type.code === "certificate.queue-full" || result.type.code === "certificate.forgotten") return;
      this.#modules.log.warn({ identity: uri, error: result.type }, "no certificate");
      this.#modules.broadcast({ kind: "certificate-failed", uri, detail: describe(result.type) });
    });
  }

  #issued(certificate: WorkloadCertificate): void {
    this.#held.set(formatIdentity(certificate.identity), certificate);
    this.#modules.broadcast(delivery(certificate));
  }
}

function delivery({ identity, key, chainPem, rootsPem, notAfter }: WorkloadCertificate): ToWorker {
  return { kind: "certificate", delivery: { identity, key, chainPem, rootsPem, notAfter } };
}
