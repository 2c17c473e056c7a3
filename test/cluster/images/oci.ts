/** Images of one layer, written without a builder: an OCI image layout in a tar (OCI image specification 1.0). */
import { createHash } from "node:crypto";
import { tar, type TarEntry } from "./tar.ts";

export interface ImageSource {
  /** The full reference, `registry/name:tag`. */
  readonly name: string;
  readonly entries: readonly TarEntry[];
  readonly entrypoint: readonly string[];
}

interface Blob {
  readonly digest: string;
  readonly bytes: Buffer;
}

const architectures: Readonly<Record<string, string>> = { x64: "amd64", arm64: "arm64" };

/** An archive that `ctr images import` takes. */
export function imageArchive({ name, entries, entrypoint }: ImageSource): Buffer {
  const layer = blob(tar(entries));
  const platform = { architecture: architectures[process.arch] ?? process.arch, os: "linux" };
  const config = json({
    ...platform,
    config: { Entrypoint: entrypoint, Env: ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"], WorkingDir: "/" },
    rootfs: { type: "layers", diff_ids: [layer.digest] },
  });
  const manifest = json({
    schemaVersion: 2,
    mediaType: "application/vnd.oci.image.manifest.v1+json",
    config: { mediaType: "application/vnd.oci.image.config.v1+json", ...reference(config) },
    layers: [{ mediaType: "application/vnd.oci.image.layer.v1.tar", ...reference(layer) }],
  });
  const index = {
    schemaVersion: 2,
    manifests: [
      {
        mediaType: "application/vnd.oci.image.manifest.v1+json",
        ...reference(manifest),
        platform,
        annotations: { "io.containerd.image.name": name, "org.opencontainers.image.ref.name": name.split(":").at(-1) },
      },
    ],
  };
  return tar([
    file("oci-layout", Buffer.from(JSON.stringify({ imageLayoutVersion: "1.0.0" }))),
    file("index.json", Buffer.from(JSON.stringify(index))),
    ...[layer, config, manifest].map(({ digest, bytes }) =>
      file(`blobs/sha256/${digest.slice("sha256:".length)}`, bytes),
    ),
  ]);
}

function json(value: unknown): Blob {
  return blob(Buffer.from(JSON.stringify(value)));
}

function blob(bytes: Buffer): Blob {
  return { bytes, digest: `sha256:${createHash("sha256").update(bytes).digest("hex")}` };
}

function reference({ digest, bytes }: Blob): { digest: string; size: number } {
  return { digest, size: bytes.length };
}

function file(path: string, content: Buffer): TarEntry {
  return { kind: "file", path, content, mode: 0o644 };
}
