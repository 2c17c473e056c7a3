/** An OCI archive, laid out as a container would see it. */
import { execFileSync, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** OCI image specification 1.0, config.md. */
export interface ImageConfig {
  readonly architecture: string;
  readonly config: {
    readonly User: string;
    readonly Env: readonly string[];
    readonly Entrypoint: readonly string[];
    readonly Labels: Readonly<Record<string, string>>;
  };
}

export class UnpackedImage {
  readonly root: string;
  readonly config: ImageConfig;
  /** Bytes of the layers as they are pulled. */
  readonly pulledBytes: number;
  readonly #folder: string;

  constructor(archive: string) {
    this.#folder = mkdtempSync(join(tmpdir(), "ambientd-image-"));
    const layout = join(this.#folder, "layout");
    this.root = join(this.#folder, "root");
    for (const folder of [layout, this.root]) mkdirSync(folder);
    execFileSync("tar", ["-xf", archive, "-C", layout]);
    const blob = (digest: string): string => join(layout, "blobs", digest.replace(":", "/"));
    const read = <T>(file: string): T => JSON.parse(readFileSync(file, "utf8")) as T;
    const index = read<{ manifests: { digest: string }[] }>(join(layout, "index.json"));
    const manifest = read<Manifest>(blob(index.manifests[0]?.digest ?? ""));
    this.config = read<ImageConfig>(blob(manifest.config.digest));
    this.pulledBytes = manifest.layers.reduce((sum, { size }) => sum + size, 0);
    for (const { digest } of manifest.layers) execFileSync("tar", ["-xf", blob(digest), "-C", this.root]);
    rmSync(layout, { recursive: true });
  }

  /** Runs the entrypoint with these arguments, as the image's user, seeing nothing but the image. */
  run(...argv: readonly string[]): {
    readonly status: number | null;
    readonly stdout: string;
    readonly stderr: string;
  } {
    return this.execute([...this.config.config.Entrypoint, ...argv]);
  }

  execute(
    argv: readonly string[],
    env: Readonly<Record<string, string>> = {},
    input = "",
  ): ReturnType<UnpackedImage["run"]> {
    const { User, Env } = this.config.config;
    const image = Object.fromEntries(
      Env.map((pair) => [pair.slice(0, pair.indexOf("=")), pair.slice(pair.indexOf("=") + 1)]),
    );
    return spawnSync("chroot", [`--userspec=${User}`, "--groups=", this.root, ...argv], {
      encoding: "utf8",
      env: { ...image, ...env },
      input,
      timeout: 60_000,
    });
  }

  remove(): void {
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

interface Manifest {
  readonly config: { readonly digest: string };
  readonly layers: readonly { readonly digest: string; readonly size: number }[];
}
