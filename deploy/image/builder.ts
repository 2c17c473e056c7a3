/** buildah with a storage of its own, and in it the two bases that the Dockerfile's FROM names. */
import { spawn } from "node:child_process";
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  symlinkSync,
} from "node:fs";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import { find } from "../../scripts/peers.ts";

export interface BuilderPlace {
  readonly cache: string;
  readonly checkout: string;
  readonly say: (line: string) => void;
}

export interface BuildOrder {
  readonly dockerfile: string;
  readonly context: string;
  readonly name: string;
  readonly revision: string;
  /** Where the OCI archive goes. */
  readonly archive: string;
}

export class Builder {
  readonly #place: BuilderPlace;
  readonly #storage: string;

  private constructor(place: BuilderPlace, storage: string) {
    this.#place = place;
    this.#storage = storage;
  }

  /** Makes the bases where they are not there yet. */
  static async prepare(place: BuilderPlace): Promise<Builder> {
    const npm = npmFolder();
    const key = `${process.version}-npm${packageVersion(npm)}-${layout}`;
    const builder = new Builder(place, join(place.cache, "storage", key));
    // What a build left that was interrupted.
    await builder.#buildah(["rm", "--all"]);
    if (!(await builder.#has(buildBase))) await builder.#makeBases(npm);
    return builder;
  }

  async build({ dockerfile, context, name, revision, archive }: BuildOrder): Promise<void> {
    const version = packageVersion(this.#place.checkout);
    // What npm has fetched before it need not fetch again, and how it reaches its registry is the machine's affair.
    const npmCache = join(homedir(), ".npm");
    mkdirSync(npmCache, { recursive: true });
    const npmrc = join(homedir(), ".npmrc");
    const mounts = [`${npmCache}:/root/.npm`, ...(existsSync(npmrc) ? [`${npmrc}:/root/.npmrc:ro`] : [])];
    const settings = [`VERSION=${version}`, `REVISION=${revision}`];
    await this.#buildah([
      "bud",
      "--isolation=chroot",
      "--pull-never",
      "--layers=false",
      "--timestamp=0",
      ...mounts.map((mount) => `--volume=${mount}`),
      ...settings.map((setting) => `--build-arg=${setting}`),
      `--file=${dockerfile}`,
      `--tag=${name}`,
      context,
    ]);
    await this.#buildah(["push", "--quiet", name, `oci-archive:${archive}:${name}`]);
    await this.#buildah(["rmi", name]);
  }

  async #makeBases(npm: string): Promise<void> {
    const { cache, say } = this.#place;
    const rootfs = join(cache, `debian-${layout}.tar`);
    if (!existsSync(rootfs)) {
      say("making a Debian base (once, half a minute)");
      // It takes the format from the suffix.
      const half = join(cache, `half-debian-${layout}.tar`);
      await run("mmdebstrap", ["--quiet", "--variant=minbase", "--include=binutils", "bookworm", half]);
      renameSync(half, rootfs);
    }
    const debian = await this.#from("scratch");
    await this.#buildah(["add", "--quiet", debian, rootfs, "/"]);
    await this.#commit(debian, base);
    const scratch = mkdtempSync(join(cache, "node-base-"));
    try {
      layOutNode(scratch, npm, join(this.#place.checkout, "node_modules"));
      const node = await this.#from(base);
      await this.#buildah(["add", "--quiet", node, scratch, "/"]);
      if (certificates !== undefined) {
        await this.#buildah(["config", `--env=NODE_EXTRA_CA_CERTS=${certificatesInside}`, node]);
      }
      await this.#commit(node, buildBase);
    } finally {
      rmSync(scratch, { recursive: true, force: true });
    }
  }

  async #has(image: string): Promise<boolean> {
    return (await this.#buildah(["images", "--quiet", "--filter", `reference=${image}`])).trim() !== "";
  }

  async #from(image: string): Promise<string> {
    return (await this.#buildah(["from", "--pull-never", image])).trim();
  }

  async #commit(container: string, name: string): Promise<void> {
    await this.#buildah(["commit", "--quiet", "--rm", container, name]);
  }

  #buildah(argv: readonly string[]): Promise<string> {
    mkdirSync(this.#storage, { recursive: true });
    const where = [`--root=${join(this.#storage, "root")}`, `--runroot=${join(this.#storage, "run")}`];
    return run("buildah", [...where, "--storage-driver=vfs", ...argv]);
  }
}

/** As the public image of that name has it: node and npm under /usr/local. */
function layOutNode(folder: string, npm: string, modules: string): void {
  const bin = join(folder, "usr/local/bin");
  mkdirSync(bin, { recursive: true });
  cpSync(join(modules, `node-linux-${process.arch}`, "bin/node"), join(bin, "node"));
  chmodSync(join(bin, "node"), 0o755);
  cpSync(npm, join(folder, "usr/local/lib/node_modules/npm"), { recursive: true });
  for (const name of ["npm", "npx"]) symlinkSync(`../lib/node_modules/npm/bin/${name}-cli.js`, join(bin, name));
  if (certificates === undefined) return;
  mkdirSync(join(folder, dirname(certificatesInside)), { recursive: true });
  cpSync(certificates, join(folder, certificatesInside), { dereference: true });
}

function npmFolder(): string {
  return join(dirname(realpathSync(find("npm") ?? "/usr/bin/npm")), "..");
}

function packageVersion(folder: string): string {
  return (JSON.parse(readFileSync(join(folder, "package.json"), "utf8")) as { version: string }).version;
}

/** Standard output; a failure throws with the last lines of what was said. */
function run(program: string, argv: readonly string[]): Promise<string> {
  return new Promise((settle, refuse) => {
    const child = spawn(program, argv, { stdio: ["ignore", "pipe", "pipe"] });
    let output = "";
    let said = "";
    child.stdout.on("data", (chunk: Buffer) => {
      output += chunk.toString();
      said = `${said}${chunk.toString()}`.slice(-4_000);
    });
    child.stderr.on("data", (chunk: Buffer) => (said = `${said}${chunk.toString()}`.slice(-4_000)));
    child.once("error", refuse);
    child.once("close", (code) => {
      if (code === 0) settle(output);
      else
        refuse(
          new Error(`${program} ${argv.find((word) => !word.startsWith("-")) ?? ""} failed (${code}):\n${said.trim()}`),
        );
    });
  });
}

const base = "docker.io/library/debian:bookworm-slim";
const buildBase = "docker.io/library/node:24-bookworm";
/** Changes when the bases are to be made anew. */
const layout = "bookworm-2";
const certificates = [process.env["NODE_EXTRA_CA_CERTS"], "/etc/ssl/certs/ca-certificates.crt"].find(
  (file) => file !== undefined && existsSync(file),
);
const certificatesInside = "/usr/local/share/ca-certificates.crt";
