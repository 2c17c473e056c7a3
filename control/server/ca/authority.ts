/**
 * The mesh's root: one P-256 key and its self-signed certificate, made once and kept in one file of the data directory, so
 * that they can't part. Nothing overwrites it, and there is no built-in one: a file that can't be used stops the start.
 */
import { createPrivateKey, X509Certificate, type KeyObject } from "node:crypto";
import { join } from "node:path";
import { messageOf } from "../../../core/base/errors.ts";
import { openIssuer, selfSignedRoot, type Issuer } from "../../../core/protocol/x509/certificate.ts";
import { parsePem, formatPem } from "../../../core/protocol/x509/pem.ts";
import { backdateMs } from "../../../core/protocol/x509/validity.ts";
import { X509Error } from "../../../core/protocol/x509/x509-error.ts";
import { createOnce, FileError, readPrivate } from "../private-files.ts";

export interface AuthorityOptions {
  /** The private data directory. */
  readonly directory: string;
  /** Becomes the organisation of a new root's subject. */
  readonly trustDomain: string;
  /** Milliseconds since 1970. */
  readonly wallMs: number;
}

/** The root of `root.pem`, which is made if it isn't there. Of several that start at once one makes it, all use that one. */
export function openAuthority({ directory, trustDomain, wallMs }: AuthorityOptions): Issuer | FileError {
  const path = join(directory, "root.pem");
  const there = readPrivate(path);
  if (there instanceof FileError) return there;
  const text = there ?? createOnce(path, textOf(newRoot(trustDomain, wallMs)));
  if (text instanceof FileError) return text;
  const issuer = parseRoot(text);
  if (typeof issuer === "string") return damaged(path, issuer);
  if (wallMs >= issuer.notAfterMs) return damaged(path, `it ended at ${new Date(issuer.notAfterMs).toISOString()}`);
  return issuer;
}

/** A root for the next ten years. @param organisation of its subject @param wallMs milliseconds since 1970 */
export function newRoot(organisation: string, wallMs: number): Issuer {
  return selfSignedRoot({ organisation, notBeforeMs: wallMs - rootBackdateMs, notAfterMs: wallMs + tenYearsMs });
}

function textOf({ key, certificatePem }: Issuer): string {
  return formatPem("PRIVATE KEY", key.export({ type: "pkcs8", format: "der" })) + certificatePem;
}

/** The root, or what is wrong with the file's text. No part of the text may show in it. */
function parseRoot(text: string): Issuer | string {
  const blocks = parsePem(text);
  if (blocks instanceof X509Error) return "it is not whole PEM";
  const [key, certificate] = blocks;
  if (blocks.length !== 2 || key?.label !== "PRIVATE KEY" || certificate?.label !== "CERTIFICATE") {
    return "it must hold a private key and then one certificate";
  }
  let privateKey: KeyObject;
  try {
    privateKey = createPrivateKey({ key: key.der, format: "der", type: "pkcs8" });
    const own = new X509Certificate(certificate.der);
    if (!own.verify(own.publicKey)) return "its certificate is not signed by itself";
  } catch (thrown) {
    return `key or certificate can't be read (${messageOf(thrown)})`;
  }
  const issuer = openIssuer(formatPem("CERTIFICATE", certificate.der), privateKey);
  return issuer instanceof X509Error ? issuer.message : issuer;
}

function damaged(path: string, problem: string): FileError {
  const fix = "restore it from a backup; if there is none, remove it: a new root is made, and every agent must get it";
  return new FileError({ code: "file.damaged", path, problem, fix });
}

const tenYearsMs = 10 * 365 * 86_400_000;
/** Leaves are dated back; their root must not begin after them. */
const rootBackdateMs = 10 * backdateMs;
