/** Whether bytes pass from one pod to another and back, and the server sees whose they are: asked of every side before it is measured. */
import type { ChildProcess } from "node:child_process";
import type { BenchPod } from "../pod.ts";

/** @returns one sentence where they don't pass, or under another address than the client's. */
export async function passEcho(client: BenchPod, server: BenchPod, port: number): Promise<string | undefined> {
  const serving = await server.run(["node", "-e", echoServer, String(port)]);
  try {
    const refusal = await lineOf(serving, 10_000);
    if (refusal !== "listening") return `no server on port ${port} of ${server.key}: ${refusal}.`;
    const asking = await client.run(["node", "-e", echoClient, server.address, String(port)]);
    const answer = await lineOf(asking, 20_000);
    asking.kill("SIGKILL");
    if (answer === `echo ${client.address}`) return undefined;
    return answer.startsWith("echo ")
      ? `the server takes ${client.key} (${client.address}) for ${answer.slice("echo ".length)}.`
      : `nothing passed from ${client.key} to ${server.key}: ${answer}.`;
  } finally {
    serving.kill("SIGKILL");
  }
}

/** Its first line, else its complaint. */
function lineOf(child: ChildProcess, withinMs: number): Promise<string> {
  let [out, complaint] = ["", ""];
  return new Promise((resolve) => {
    const timer = setTimeout(() => resolve(`no answer within ${withinMs / 1_000} s ${complaint}`.trim()), withinMs);
    const settle = (line: string): void => {
      clearTimeout(timer);
      resolve(line);
    };
    child.stdin?.on("error", () => undefined);
    child.stderr?.setEncoding("utf8").on("data", (text: string) => (complaint += text));
    child.stdout?.setEncoding("utf8").on("data", (text: string) => {
      out += text;
      const [line, rest] = out.split("\n");
      if (rest !== undefined) settle(line ?? "");
    });
    child.once("error", (error) => settle(error.message));
    child.once("close", () => settle(complaint.trim().split("\n").at(-1) || "it ended without a word"));
  });
}

/** Sends back what comes, behind the address that it seems to come from. */
const echoServer = `
require("net").createServer((s) => {
  s.on("error", () => {});
  s.write(s.remoteAddress.replace("::ffff:", "") + " ");
  s.pipe(s);
}).listen(Number(process.argv[1]), "::", () => console.log("listening"))
  .on("error", (e) => { console.error(e.code); process.exit(1); });
`;

/** Tries again for a while: a side that has just been started may still be learning of its mesh. */
const echoClient = `
const [, host, port] = process.argv;
const until = Date.now() + 15000;
(function ask() {
  let text = "";
  const again = (why) => {
    if (Date.now() > until) { console.log(why); process.exit(1); }
    setTimeout(ask, 100);
  };
  const s = require("net").connect({ host, port: Number(port) });
  s.setTimeout(3000, () => s.destroy(new Error("silence for 3 s")));
  s.on("connect", () => s.write("marco"));
  s.on("data", (d) => {
    text += d;
    if (text.endsWith(" marco")) { console.log("echo " + text.slice(0, -6)); process.exit(0); }
  });
  let why = "the connection was closed";
  s.on("error", (e) => (why = e.code ?? e.message));
  s.on("close", () => again(why));
})();
`;
