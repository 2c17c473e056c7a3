/** The images that every node has from the beginning, made of the cluster's parts. */
import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { images, stateFolder } from "../layout.ts";
import type { Parts } from "../parts/parts.ts";
import { imageArchive, type ImageSource } from "./oci.ts";
import type { TarEntry } from "./tar.ts";

/** Writes the archives. @returns their paths, what pods need first at the front. */
export function writeBuiltinImages(parts: Parts): string[] {
  const folder = join(stateFolder, "images");
  mkdirSync(folder, { recursive: true });
  return sources(parts).map((source, index) => {
    const path = join(folder, `${index}.tar`);
    writeFileSync(path, imageArchive(source));
    return path;
  });
}

function sources(parts: Parts): ImageSource[] {
  const app = program("app", parts.app);
  return [
    { name: images.pause, entries: [app], entrypoint: ["/app", "pause"] },
    { name: images.coredns, entries: [program("coredns", parts.coredns)], entrypoint: ["/coredns"] },
    { name: images.app, entries: [app, ...folders], entrypoint: ["/app"] },
    { name: images.busybox, entries: [app, ...folders, ...shell(parts.busybox)], entrypoint: ["/bin/sh"] },
  ];
}

const folders: readonly TarEntry[] = [
  { kind: "folder", path: "tmp", mode: 0o1777 },
  { kind: "folder", path: "etc", mode: 0o755 },
  {
    kind: "file",
    path: "etc/passwd",
    mode: 0o644,
    content: Buffer.from("root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"),
  },
];

/** busybox under each of its names. */
function shell(busybox: string): TarEntry[] {
  const names = execFileSync(busybox, ["--list"], { encoding: "utf8" }).trim().split("\n");
  return [
    { kind: "folder", path: "bin", mode: 0o755 },
    program("bin/busybox", busybox),
    ...names
      .filter((name) => name !== "busybox")
      .map((name): TarEntry => ({ kind: "symlink", path: `bin/${name}`, target: "busybox" })),
  ];
}

function program(path: string, file: string): TarEntry {
  return { kind: "file", path, content: readFileSync(file), mode: 0o755 };
}
