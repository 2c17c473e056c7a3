/**
 * The file of revocation lists (CRL_PATH) on the main thread: read again when it changes, checked, and handed to the workers. What can't
 * be used is said loudly and changes nothing: the last good lists stay in force. So they do when the file goes, and when they are older
 * than they should be. A file that is not there yet is waited for.
 */
import { createHash, X509Certificate } from "node:crypto";
import { dirname } from "node:path";
import type { Clock } from "../../core/base/clock.ts";
import { messageOf } from "../../core/base/errors.ts";
import type { Log } from "../../core/base/log.ts";
import { authorityOf, signedBy, type Authority } from "../../core/protocol/x509/crl-signature.ts";
import { parseCrlFile, type RevocationList } from "../../core/protocol/x509/crl.ts";
import { certificatesOf } from "../../core/protocol/x509/pem.ts";
import { X509Error } from "../../core/protocol/x509/x509-error.ts";
import { systemCrlFiles, type CrlFiles } from "./crl-files.ts";
import type { RevokedSerials } from "./revocations.ts";

export interface CrlFileOptions {
  readonly path: string;
  readonly clock: Clock;
  readonly log: Log;
  /** New lists are in force. */
  readonly onLists: (lists: readonly RevokedSerials[]) => void;
  readonly files?: CrlFiles;
}

/** Why the file as it is now is not in force: `forged` is not signed by the authority that it names. */
export type CrlProblem = "missing" | "unreadable" | "malformed" | "forged";

export interface CrlStatus {
  /** undefined: nothing was ever there. */
  readonly lists: number | undefined;
  readonly revoked: number;
  /** Lists of authorities that we have no certificate of. */
  readonly unverified: number;
  readonly problem: CrlProblem | undefined;
  /** When the first of the lists should have been replaced, milliseconds since 1970. */
  readonly nextUpdateMs: number | undefined;
}

interface InForce {
  readonly lists: readonly RevocationList[];
  /** SHA-256 of the file. */
  readonly digest: string;
  readonly unverified: number;
}

export class CrlFile {
  readonly #options: CrlFileOptions;
  readonly #files: CrlFiles;
  /** By PEM: every root and intermediate that came with a certificate of ours. */
  readonly #authorities = new Map<string, Authority | undefined>();
  #inForce: InForce | undefined;
  #problem: CrlProblem | undefined;
  #stamp: string | undefined;
  #isExpired = false;
  /** `again`: the file has changed while it was being read. */
  #phase: "idle" | "waiting" | "loading" | "again" | "closed" = "idle";
  #unwatch = (): void => {};
  #cancelPoll = (): void => {};

  constructor(options: CrlFileOptions) {
    this.#options = options;
    this.#files = options.files ?? systemCrlFiles;
  }

  /** Settles when the file has been looked at for the first time. */
  async start(): Promise<void> {
    // A swap of the volume's symlink is an event of the folder, and none of the file.
    this.#unwatch = this.#files.watch(dirname(this.#options.path), () => this.#touched());
    await this.#load();
    this.#poll();
  }

  close(): void {
    this.#phase = "closed";
    this.#unwatch();
    this.#cancelPoll();
  }

  /** What the workers should have; undefined before there was anything. */
  get lists(): readonly RevokedSerials[] | undefined {
    return this.#inForce?.lists.map(({ issuer, serials }) => ({ issuer, serials }));
  }

  get status(): CrlStatus {
    const lists = this.#inForce?.lists ?? [];
    const ends = lists.flatMap(({ nextUpdateMs }) => nextUpdateMs ?? []);
    return {
      lists: this.#inForce && lists.length,
      revoked: lists.reduce((sum, { serials }) => sum + serials.size, 0),
      unverified: this.#inForce?.unverified ?? 0,
      problem: this.#problem,
      nextUpdateMs: ends.length === 0 ? undefined : Math.min(...ends),
    };
  }

  /** Certificates that came with ours: authorities among them are whose word lists must be. @param pems of any number each. */
  learn(pems: Iterable<string>): void {
    let isNew = false;
    for (const pem of pems) {
      if (this.#authorities.has(pem)) continue;
      const single = certificatesOf(pem);
      for (const one of single instanceof X509Error ? [] : single) {
        if (this.#authorities.has(one)) continue;
        const authority = authorityOf(new X509Certificate(one));
        this.#authorities.set(one, authority);
        isNew ||= authority !== undefined;
      }
      if (!this.#authorities.has(pem)) this.#authorities.set(pem, undefined);
    }
    if (isNew) this.#touched();
  }

  /** Something has changed, and more may be about to. */
  #touched(): void {
    if (this.#phase === "loading") this.#phase = "again";
    if (this.#phase !== "idle") return;
    this.#phase = "waiting";
    this.#options.clock.after(debounceMs, () => {
      if (this.#phase === "waiting") void this.#load();
    });
  }

  /** Where nobody says that a file has changed (no inotify left, a file system over the network), it is looked at. */
  #poll(): void {
    if (this.#phase === "closed") return;
    this.#cancelPoll = this.#options.clock.after(pollEveryMs, () => {
      this.#lookAtAge();
      void this.#files.stamp(this.#options.path).then((stamp) => {
        if (stamp !== this.#stamp) this.#touched();
        this.#poll();
      });
    });
  }

  async #load(): Promise<void> {
    const { path } = this.#options;
    this.#phase = "loading";
    this.#stamp = await this.#files.stamp(path);
    const file = await this.#files.read(path);
    if ("failed" in file) this.#refuse(file.failed, file.detail);
    else await this.#take(file.bytes);
    this.#loaded();
  }

  #loaded(): void {
    const phase = this.#phase;
    if (phase === "closed") return;
    this.#phase = "idle";
    if (phase === "again") this.#touched();
  }

  async #take(bytes: Uint8Array): Promise<void> {
    const lists = await this.#parse(bytes);
    if (lists instanceof X509Error) return this.#refuse("malformed", messageOf(lists));
    const digest = createHash("sha256").update(bytes).digest("base64");
    const authorities = [...this.#authorities.values()].filter((one) => one !== undefined);
    const words = lists.map((list) => signedBy(list, authorities));
    if (words.includes("forged")) {
      // It was taken when nobody could tell: now that somebody can, it is not.
      if (this.#inForce?.digest === digest) this.#enforce({ lists: [], digest: "", unverified: 0 });
      return this.#refuse("forged", "not signed by the authority that it names");
    }
    this.#problem = undefined;
    this.#enforce({ lists, digest, unverified: words.filter((word) => word === "unknown").length });
    this.#isExpired = false;
    this.#lookAtAge();
  }

  async #parse(bytes: Uint8Array): Promise<RevocationList[] | X509Error> {
    const { clock } = this.#options;
    const steps = parseCrlFile(bytes);
    for (let sinceMs = clock.nowMs(); ;) {
      const { done, value } = steps.next();
      if (done) return value;
      if (clock.nowMs() - sinceMs < longestTurnMs) continue;
      await new Promise((resolve) => setImmediate(resolve));
      sinceMs = clock.nowMs();
    }
  }

  #enforce(inForce: InForce): void {
    this.#inForce = inForce;
    const { lists = 0, revoked, unverified } = this.status;
    const { log, path, onLists } = this.#options;
    log.info({ path, lists, revoked, unverified }, "revocation lists are in force");
    onLists(this.lists ?? []);
  }

  #refuse(problem: CrlProblem, detail: string): void {
    const { log, path } = this.#options;
    const isNews = this.#problem !== problem;
    this.#problem = problem;
    if (problem === "missing" && this.#inForce === undefined) {
      if (isNews) log.warn({ path }, "there is no file of revocation lists yet; it is waited for");
      return;
    }
    const kept = this.#inForce === undefined ? "nothing is revoked" : "the last good lists stay in force";
    log.error({ path, problem, detail }, `the file of revocation lists cannot be used: ${kept}`);
  }

  /** Old lists are better than none. */
  #lookAtAge(): void {
    const { nextUpdateMs } = this.status;
    const { clock, log, path } = this.#options;
    const isExpired = nextUpdateMs !== undefined && nextUpdateMs < clock.wallMs();
    if (isExpired && !this.#isExpired) {
      log.error(
        { path, nextUpdate: new Date(nextUpdateMs).toISOString() },
        "a revocation list is out of date; it stays in force",
      );
    }
    this.#isExpired = isExpired;
  }
}

const debounceMs = 2_000;
const pollEveryMs = 2_000;
/** Of the main thread's event loop, while a long list is being read. */
const longestTurnMs = 5;
