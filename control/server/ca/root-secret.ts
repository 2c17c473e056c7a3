/**
 * The mesh's root in a cluster: a Secret of control's own namespace. One that was plugged in (`cacerts`) is used as it is;
 * else `istio-ca-secret`, which whoever comes first creates and nobody overwrites: the loser of that race reads the winner's.
 * Layouts are istiod's (security/pkg/pki/ca/ca.go, pilot/pkg/bootstrap/istio_ca.go), so that either can follow the other.
 */
import { formatPem } from "../../../core/protocol/x509/pem.ts";
import type { Issuer } from "../../../core/protocol/x509/certificate.ts";
import { TypedError } from "../../../core/base/errors.ts";
import { isConflict, isNotFound, KubeError } from "../../sources/kubernetes/errors.ts";
import { collectionPath, objectPath } from "../../sources/kubernetes/paths.ts";
import { newRoot } from "./authority.ts";
import type { SigningChain } from "./mesh-authority.ts";
import { readSigningMaterial } from "./signing-material.ts";

export class RootError extends TypedError<
  | { readonly code: "root.incomplete"; readonly secret: string; readonly missing: readonly string[] }
  | { readonly code: "root.unusable"; readonly secret: string; readonly problem: string }
> {
  /** What to do about it. */
  sentence(): string {
    const { type } = this;
    const problem =
      type.code === "root.incomplete" ? `lacks ${type.missing.join(", ")}` : `can't be used: ${type.problem}`;
    return `Secret ${type.secret} ${problem}. Put it right, or remove it: without it control makes a root of its own, which every workload must then be given.`;
  }
}

/** A Secret as the API server has it: values in base64. */
export interface Secret {
  readonly metadata?: { readonly name?: string; readonly namespace?: string; readonly resourceVersion?: string };
  readonly type?: string;
  readonly data?: Readonly<Record<string, string>>;
}

/** What is needed of a Kubernetes client. */
export interface SecretClient {
  get<T>(path: string): Promise<T | KubeError>;
  create<T>(path: string, body: object): Promise<T | KubeError>;
}

export interface RootSecretOptions {
  readonly client: SecretClient;
  readonly namespace: string;
  /** Becomes the organisation of a new root's subject. */
  readonly trustDomain: string;
  /** Milliseconds since 1970. */
  readonly wallMs: () => number;
}

export interface OpenedRoot {
  /** The Secret it came from, to be watched. */
  readonly name: string;
  readonly chain: SigningChain;
}

/** The root in force, made if there is none. */
export async function openRootSecret(options: RootSecretOptions): Promise<OpenedRoot | RootError | KubeError> {
  const { client, namespace, trustDomain, wallMs } = options;
  for (const name of [pluggedIn, selfSigned]) {
    const secret = await client.get<Secret>(objectPath("Secret", namespace, name));
    if (isNotFound(secret)) continue;
    return opened(secret, name, options);
  }
  const secret = newSecret(namespace, newRoot(trustDomain, wallMs()));
  const created = await client.create<Secret>(collectionPath("Secret", namespace), secret);
  // Another replica was first: its root is the mesh's.
  const inForce = isConflict(created) ? await client.get<Secret>(objectPath("Secret", namespace, selfSigned)) : created;
  return opened(inForce, selfSigned, options);
}

/** What a Secret says, wherever it came from. */
export function readRootSecret(
  { data = {} }: Secret,
  name: string,
  { namespace, wallMs }: Pick<RootSecretOptions, "namespace" | "wallMs">,
): SigningChain | RootError {
  const secret = `${namespace}/${name}`;
  const layout = layoutOf(name, data);
  const missing = layout.required.filter((key) => (data[key] ?? "") === "");
  if (missing.length > 0) return new RootError({ code: "root.incomplete", secret, missing });
  const text = (key: string): string => Buffer.from(data[key] ?? "", "base64").toString("utf8");
  const key = Buffer.from(data[layout.key] ?? "", "base64");
  const certificate = text(layout.certificate);
  const roots = text(layout.roots);
  const material = { certificate, key, chain: text(layout.chain), roots: roots.trim() === "" ? certificate : roots };
  const chain = readSigningMaterial(material, wallMs());
  key.fill(0);
  return typeof chain === "string" ? new RootError({ code: "root.unusable", secret, problem: chain }) : chain;
}

function opened(
  secret: Secret | KubeError,
  name: string,
  options: RootSecretOptions,
): OpenedRoot | RootError | KubeError {
  if (secret instanceof KubeError) return secret;
  const chain = readRootSecret(secret, name, options);
  return chain instanceof RootError ? chain : { name, chain };
}

function newSecret(namespace: string, root: Issuer): object {
  const base64 = (text: string): string => Buffer.from(text).toString("base64");
  const key = formatPem("PRIVATE KEY", root.key.export({ type: "pkcs8", format: "der" }));
  return {
    apiVersion: "v1",
    kind: "Secret",
    metadata: { name: selfSigned, namespace, labels: { "app.kubernetes.io/name": "ambientd" } },
    type: "istio.io/ca-root",
    data: { [files.certificate]: base64(root.certificatePem), [files.key]: base64(key) },
  };
}

interface Layout {
  readonly certificate: string;
  readonly key: string;
  readonly chain: string;
  readonly roots: string;
  readonly required: readonly string[];
}

function layoutOf(name: string, data: NonNullable<Secret["data"]>): Layout {
  if (name === selfSigned) return { ...files, required: [files.certificate, files.key] };
  // cert-manager writes Secrets of type kubernetes.io/tls.
  if ("tls.crt" in data || "tls.key" in data) {
    return { ...tlsFiles, required: [tlsFiles.certificate, tlsFiles.key, tlsFiles.roots] };
  }
  return { ...files, required: [files.certificate, files.key, files.chain, files.roots] };
}

const pluggedIn = "cacerts";
const selfSigned = "istio-ca-secret";
const files = {
  certificate: "ca-cert.pem",
  key: "ca-key.pem",
  chain: "cert-chain.pem",
  roots: "root-cert.pem",
} as const;
const tlsFiles = { certificate: "tls.crt", key: "tls.key", chain: "tls.crt", roots: "ca.crt" } as const;
