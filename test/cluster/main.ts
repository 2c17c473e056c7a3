/**
 * `npm run cluster`: a real two-node Kubernetes on this machine, left running in the background.
 * `down` removes every trace, `reboot NODE` pulls a node's plug, `status` says what runs, `--check` installs ambientd and checks it.
 * Exit codes: 0 done, 1 it failed, 2 it can't run here or was called wrongly.
 */
import process from "node:process";
import { messageOf } from "../../core/base/errors.ts";
import { attachCluster, startCluster, Unavailable, type Cluster } from "./cluster.ts";
import { kubeconfig, logFolder } from "./layout.ts";
import { bringDown } from "./lifecycle.ts";
import { sayOnTerminal } from "./say.ts";
import { startsHere, stateOfCluster } from "./state.ts";

const usage = `usage: npm run cluster [-- COMMAND]

  up           start it, or attach to the one that runs (default)
  down         end it and remove every trace of it
  status       say what runs
  reboot NODE  end all processes of node1 or node2 at once, and start it again
  --check      install ambientd on it, run the checks, print one line each
`;

const say = sayOnTerminal();

// Ctrl-C while it starts: half a cluster is of no use.
for (const signal of ["SIGINT", "SIGTERM"] as const)
  process.once(signal, () => {
    void (startsHere() ? bringDown() : Promise.resolve()).finally(() => process.exit(1));
  });

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (thrown) {
  say(messageOf(thrown));
  say(`Logs are in ${logFolder}; npm run cluster -- down removes what there is.`);
  process.exitCode = 1;
}

async function main([command = "up", ...rest]: readonly string[]): Promise<number> {
  switch (command) {
    case "up":
      return withCluster(startCluster(say), up);
    case "down":
      return down();
    case "status":
      return withCluster(attachCluster(), status);
    case "reboot":
      return withCluster(attachCluster(), (cluster) => reboot(cluster, rest[0]));
    case "--check":
    case "check":
      return withCluster(startCluster(say), check);
    default:
      say(usage);
      return 2;
  }
}

async function withCluster(
  asked: Promise<Cluster | Unavailable>,
  use: (cluster: Cluster) => Promise<number>,
): Promise<number> {
  const cluster = await asked;
  if (!(cluster instanceof Unavailable)) return use(cluster);
  say(`There can be no cluster here: ${cluster.missing}.`);
  return 2;
}

async function up(cluster: Cluster): Promise<number> {
  const path = cluster.parts.folders.slice(0, 2).join(":");
  process.stdout.write(`A cluster of two nodes is up.

  export KUBECONFIG=${kubeconfig} PATH=${path}:$PATH

Try:
  kubectl get nodes,pods -A -o wide
  kubectl run web --image=ambientd.test/app:1 -- serve
  npm run cluster -- --check        install ambientd and check it
  npm run cluster -- reboot node2   pull a node's plug
  npm run cluster -- down           remove every trace
`);
  return 0;
}

async function down(): Promise<number> {
  const before = stateOfCluster();
  await bringDown();
  say(before === "absent" ? "No cluster was there." : "The cluster is gone.");
  return 0;
}

async function status(cluster: Cluster): Promise<number> {
  const { stdout, stderr, code } = await cluster.kubectl(["get", "nodes,pods", "-A", "-o", "wide"]);
  process.stdout.write(stdout);
  process.stderr.write(stderr);
  return code === 0 ? 0 : 1;
}

async function reboot(cluster: Cluster, name: string | undefined): Promise<number> {
  const node = cluster.nodes.find((candidate) => candidate.name === name);
  if (node === undefined) {
    say(`Which node? ${cluster.nodes.map((candidate) => candidate.name).join(" or ")}.`);
    return 2;
  }
  await node.reboot();
  say(`${node.name} is Ready again.`);
  return 0;
}

async function check(): Promise<number> {
  const { check: checks } = await import("./check.ts");
  return checks();
}
