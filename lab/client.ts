/** A lab's control socket as its callers see it. The socket lies in the lab's own /run and is reached through /proc. */
import { request, type IncomingMessage } from "node:http";

export class LabClient {
  readonly #socketPath: string;

  /** @param pid of the lab's PID 1, as the host counts. */
  constructor(pid: number) {
    this.#socketPath = `/proc/${pid}/root/run/lab/lab.sock`;
  }

  /** The JSON answer. @param body sent as JSON, a string as it is. @throws Error with the lab's own sentence. */
  async request<T = unknown>(method: string, path: string, body?: unknown): Promise<T> {
    const response = await this.open(method, path, body);
    const text = await textOf(response);
    return (response.headers["content-type"]?.includes("json") === true ? JSON.parse(text) : text) as T;
  }

  /** The answer as it comes in, for events and logs that are followed. */
  open(method: string, path: string, body?: unknown): Promise<IncomingMessage> {
    return new Promise((resolve, reject) => {
      const outgoing = request({ socketPath: this.#socketPath, method, path, agent: false }, (response) => {
        if (response.statusCode === 200) return resolve(response);
        textOf(response).then(
          (text) => reject(new Error(sentenceOf(text) ?? `lab: HTTP ${response.statusCode}`)),
          reject,
        );
      });
      outgoing.once("error", reject);
      outgoing.end(body === undefined ? undefined : typeof body === "string" ? body : JSON.stringify(body));
    });
  }
}

async function textOf(response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString("utf8");
}

function sentenceOf(text: string): string | undefined {
  try {
    const { error } = JSON.parse(text) as { error?: unknown };
    return typeof error === "string" ? error : undefined;
  } catch {
    return undefined;
  }
}
