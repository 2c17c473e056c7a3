/** The serving certificate of plane.ts, and the root that agents are given. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { selfSignedRoot, serverCertificate } from "../../core/protocol/x509/certificate.ts";

export interface PlaneFiles {
  /** What plane.ts is told of them: its flags. */
  readonly flags: readonly string[];
  readonly root: string;
  /** Where it takes orders. */
  readonly socket: string;
}

/** @param names by which agents reach it. */
export function planeFiles(folder: string, names: readonly string[], nowMs: number): PlaneFiles {
  mkdirSync(folder, { recursive: true });
  const validity = { notBeforeMs: nowMs - hourMs, notAfterMs: nowMs + 24 * hourMs };
  const issuer = selfSignedRoot({ organisation: "bench", ...validity });
  const { key, certificatePem } = serverCertificate({ issuer, names, ...validity });
  const write = (name: string, text: string): string => {
    const path = join(folder, name);
    writeFileSync(path, text, { mode: 0o600 });
    return path;
  };
  const socket = join(folder, "plane.sock");
  const certificate = write("plane.pem", certificatePem);
  const keyFile = write("plane-key.pem", key.export({ type: "pkcs8", format: "pem" }) as string);
  return {
    flags: ["--certificate", certificate, "--key", keyFile, "--socket", socket],
    root: write("plane-root.pem", issuer.certificatePem),
    socket,
  };
}

/** plane.ts, as a program. */
export const planeProgram = join(import.meta.dirname, "plane.ts");

const hourMs = 3_600_000;
