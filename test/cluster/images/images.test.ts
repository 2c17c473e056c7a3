import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { describe, it } from "node:test";
import { find } from "../../../scripts/peers.ts";
import { imageArchive } from "./oci.ts";
import { tar, type TarEntry } from "./tar.ts";

const skip = find("tar") === undefined ? "no tar here" : false;
const entries: readonly TarEntry[] = [
  { kind: "folder", path: "bin", mode: 0o755 },
  { kind: "file", path: "bin/program", content: Buffer.alloc(1000, "x"), mode: 0o755 },
  { kind: "file", path: "empty", content: Buffer.alloc(0), mode: 0o600 },
  { kind: "symlink", path: "bin/sh", target: "program" },
];

describe("an archive", () => {
  it("reads the same in the machine's tar", { skip }, () => {
    const listing = execFileSync("tar", ["-tvf", "-", "--numeric-owner"], { input: tar(entries), encoding: "utf8" });
    const shown = listing
      .trim()
      .split("\n")
      .map((line) => line.replace(/ +/g, " ").replace(/1970-01-01 \d\d:\d\d /, ""));
    assert.deepEqual(shown, [
      "drwxr-xr-x 0/0 0 bin/",
      "-rwxr-xr-x 0/0 1000 bin/program",
      "-rw------- 0/0 0 empty",
      "lrwxrwxrwx 0/0 0 bin/sh -> program",
    ]);
  });

  it("refuses a path that its header can't hold", () => {
    const path = "a".repeat(101);
    assert.throws(() => tar([{ kind: "file", path, content: Buffer.alloc(0), mode: 0o644 }]), RangeError);
  });
});

describe("an image archive", () => {
  it("names its image, and every blob by its own hash", { skip }, () => {
    const archive = imageArchive({ name: "ambientd.test/thing:3", entries, entrypoint: ["/bin/program"] });
    const read = (path: string): Buffer => execFileSync("tar", ["-xOf", "-", path], { input: archive });
    const json = <T>(path: string): T => JSON.parse(read(path).toString()) as T;
    const blob = (digest: string): string => `blobs/${digest.replace(":", "/")}`;

    const { manifests } = json<{ manifests: [{ digest: string; annotations: Record<string, string> }] }>("index.json");
    assert.equal(manifests[0].annotations["io.containerd.image.name"], "ambientd.test/thing:3");
    const manifest = json<{ config: { digest: string }; layers: [{ digest: string; size: number }] }>(
      blob(manifests[0].digest),
    );
    const config = json<{ rootfs: { diff_ids: string[] } }>(blob(manifest.config.digest));
    assert.deepEqual(config.rootfs.diff_ids, [manifest.layers[0].digest]);
    for (const { digest } of [manifests[0], manifest.config, manifest.layers[0]])
      assert.equal(
        `sha256:${createHash("sha256")
          .update(read(blob(digest)))
          .digest("hex")}`,
        digest,
      );
    assert.deepEqual(read(blob(manifest.layers[0].digest)), tar(entries));
  });
});
