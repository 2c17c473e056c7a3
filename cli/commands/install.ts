/** `ambientctl install`: looks first, all at once, then lets Helm put the chart there that came with this program. */
import { Command } from "commander";
import { preflight } from "../analyze/preflight.ts";
import { defaultNamespace } from "../clients/components.ts";
import { chartProblem, findHelm, helmCluster, runHelm, shippedChart, type Helm } from "../clients/helm.ts";
import { readPreflightFacts } from "../clients/preflight-facts.ts";
import { exitCodes } from "../exit-codes.ts";
import { formatOf, globalsOf } from "../global-options.ts";
import { Failure } from "../render/failure.ts";
import { hasFailed, renderChecks, type Check } from "../render/checks.ts";
import { renderData, say } from "../render/output.ts";
import { chooseCluster } from "../target.ts";

interface Options {
  readonly helm?: string;
  readonly chart: string;
  readonly release: string;
  readonly set: readonly string[];
  readonly values: readonly string[];
  readonly version?: string;
  readonly wait: boolean;
  readonly timeout?: string;
  readonly dryRun: boolean;
  readonly preflightOnly: boolean;
  readonly ignore: readonly string[];
}

export function installCommand(): Command {
  const command = new Command("install").description("install ambientd into a cluster, or upgrade it there");
  return addHelmOptions(command)
    .option("--chart <ref>", "another chart: a folder, an archive or oci://…", shippedChart)
    .option("--set <name=value>", "a value of the chart; may be repeated", collect, [])
    .option("-f, --values <file>", "a file of values; may be repeated", collect, [])
    .option("--version <version>", "which version of a chart from a repository")
    .option("--wait", "until every part is ready", false)
    .option("--timeout <time>", "how long Helm waits: 5m")
    .option("--dry-run", "look and render, change nothing", false)
    .option("--preflight-only", "look only: may it be installed here?", false)
    .option("--ignore <check>", "go on although this check fails; may be repeated", collect, [])
    .argument("[helm flags...]", "more for Helm, after --")
    .action(async (more: string[], options: Options) => {
      const flags = globalsOf(command);
      const cluster = await chooseCluster(command, "A lab brings its own: npm start.");
      const namespace = flags.namespace ?? defaultNamespace;
      const broken = chartProblem(options.chart);
      if (broken !== undefined) throw broken;
      const toCluster = helmCluster(flags);
      const helm = await findHelm(options.helm, process.env["PATH"]);
      const checks = [...preflight(await readPreflightFacts(cluster, namespace)), helmCheck(helm)].map(
        ignoring(options.ignore),
      );
      const format = formatOf(command);
      if (format === "table") process.stdout.write(renderChecks(checks));
      else process.stdout.write(renderData(format, checks));
      if (hasFailed(checks) || helm instanceof Failure) {
        say("Nothing was changed.");
        process.exitCode = exitCodes.failed;
        return;
      }
      if (options.preflightOnly) return;
      const argv = [...helmInstall(options, namespace), ...toCluster, ...more];
      const code = await runHelm(helm, argv, format !== "table");
      if (code !== 0)
        throw new Failure(
          `Helm ended with ${code}.`,
          "Its own words are above; helm history and kubectl get events -n " + namespace + " say more.",
          exitCodes.failed,
        );
    });
}

/** Flags that install and uninstall share. */
export function addHelmOptions(command: Command): Command {
  return command
    .option("--helm <file>", "which helm (default: the one on PATH)")
    .option("--release <name>", "Helm's name for it", "ambientd");
}

export function collect(value: string, before: readonly string[]): string[] {
  return [...before, value];
}

/** Helm's arguments. `upgrade --install` does the same whether it is there already or not. */
function helmInstall(options: Options, namespace: string): string[] {
  return [
    "upgrade",
    "--install",
    options.release,
    options.chart,
    "--namespace",
    namespace,
    "--create-namespace",
    ...options.values.flatMap((file) => ["--values", file]),
    ...options.set.flatMap((assignment) => ["--set", assignment]),
    ...(options.version === undefined ? [] : ["--version", options.version]),
    ...(options.wait ? ["--wait"] : []),
    ...(options.timeout === undefined ? [] : ["--timeout", options.timeout]),
    ...(options.dryRun ? ["--dry-run=server"] : []),
  ];
}

function helmCheck(helm: Helm | Failure): Check {
  if (helm instanceof Failure) {
    return { subject: "", name: "helm", outcome: "failed", finding: helm.message, nextStep: helm.nextStep };
  }
  return { subject: "", name: "helm", outcome: "ok", finding: `${helm.version} (${helm.program})` };
}

function ignoring(names: readonly string[]): (check: Check) => Check {
  return (check) =>
    check.outcome === "failed" && names.includes(check.name) && check.name !== "helm"
      ? { ...check, outcome: "warning", finding: `${check.finding} (ignored)` }
      : check;
}
