/** Keys and certificates of a cluster: one authority for servers and users alike, made anew by each start. */
import { generateKeyPairSync } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { mustRun } from "./command.ts";
import { apiService, hubAddress, nodeLayouts, pkiFolder } from "./layout.ts";

export interface KeyPair {
  readonly certificate: string;
  readonly key: string;
}

/** A user as RBAC sees one: the certificate's common name and organizations. */
export interface User {
  readonly name: string;
  readonly groups: readonly string[];
}

export const authority: KeyPair = pair("ca");
export const apiServer: KeyPair = pair("kube-apiserver");
/** What the API server shows to kubelets. */
export const apiServerClient: KeyPair = pair("kube-apiserver-client");
export const etcdServer: KeyPair = pair("etcd");
/** Signs service accounts' tokens. */
export const serviceAccounts: KeyPair = { certificate: join(pkiFolder, "sa.pub"), key: join(pkiFolder, "sa.key") };

export const administrator: User = { name: "admin", groups: ["system:masters"] };
export const controllerManager: User = { name: "system:kube-controller-manager", groups: [] };
export const scheduler: User = { name: "system:kube-scheduler", groups: [] };
export const proxy: User = { name: "system:kube-proxy", groups: [] };

export function kubelet(node: string): User {
  return { name: `system:node:${node}`, groups: ["system:nodes"] };
}

/** Writes all but users' certificates. */
export async function createAuthority(): Promise<void> {
  mkdirSync(pkiFolder, { recursive: true, mode: 0o700 });
  const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  writeFileSync(serviceAccounts.certificate, publicKey.export({ type: "spki", format: "pem" }));
  writeFileSync(serviceAccounts.key, privateKey.export({ type: "pkcs8", format: "pem" }), { mode: 0o600 });
  const { key, certificate } = authority;
  await request([
    "-keyout",
    key,
    "-out",
    certificate,
    "-subj",
    "/CN=ambientd-cluster",
    ...extensions({
      basicConstraints: "critical,CA:TRUE",
      keyUsage: "critical,keyCertSign,cRLSign,digitalSignature",
    }),
  ]);
  const names = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"];
  const addresses = ["127.0.0.1", hubAddress, apiService, ...nodeLayouts.map(({ address }) => address)];
  const both = [...names.map((name) => `DNS:${name}`), ...addresses.map((address) => `IP:${address}`)].join();
  await Promise.all([
    issue(apiServer, { name: "kube-apiserver", groups: [] }, { extendedKeyUsage: "serverAuth", subjectAltName: both }),
    issue(
      etcdServer,
      { name: "etcd", groups: [] },
      { extendedKeyUsage: "serverAuth,clientAuth", subjectAltName: "DNS:localhost,IP:127.0.0.1" },
    ),
    issueUser(apiServerClient, { name: "kube-apiserver-client", groups: ["system:masters"] }),
  ]);
}

export async function issueUser(into: KeyPair, user: User): Promise<void> {
  await issue(into, user, { extendedKeyUsage: "clientAuth" });
}

/** Where a pair of that name lies. */
export function pair(name: string): KeyPair {
  return { certificate: join(pkiFolder, `${name}.crt`), key: join(pkiFolder, `${name}.key`) };
}

async function issue(into: KeyPair, { name, groups }: User, own: Record<string, string>): Promise<void> {
  const subject = [...groups.map((group) => `/O=${escape(group)}`), `/CN=${escape(name)}`].join("");
  const signer = ["-CA", authority.certificate, "-CAkey", authority.key];
  const all = { basicConstraints: "CA:FALSE", keyUsage: "digitalSignature", ...own };
  await request([...signer, "-keyout", into.key, "-out", into.certificate, "-subj", subject, ...extensions(all)]);
}

async function request(args: readonly string[]): Promise<void> {
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
  // A configuration of ours that says nothing: the machine's may add extensions.
  const argv = ["openssl", "req", "-x509", "-days", "30", "-config", "-", ...key, ...args];
  await mustRun(argv, { stdin: "[req]\ndistinguished_name=dn\n[dn]\n" });
}

function extensions(all: Record<string, string>): string[] {
  return Object.entries(all).flatMap(([name, value]) => ["-addext", `${name}=${value}`]);
}

function escape(text: string): string {
  return text.replace(/[/+\\]/g, "\\$&");
}
