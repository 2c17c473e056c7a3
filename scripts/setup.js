// Makes a checkout runnable, then gets out of the way. Plain JavaScript without dependencies: it runs on whatever Node
// >= 20 there is, before anything is installed. Quick when there is nothing to do.
import { spawn, spawnSync } from "node:child_process";
import { readdirSync, readFileSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const wantedMajor = 24;
const root = dirname(dirname(fileURLToPath(import.meta.url)));
const modules = join(root, "node_modules");
const lockfile = join(root, "package-lock.json");

await main();

async function main() {
  if (process.platform !== "linux")
    refuse(`ambientd runs on Linux, not on ${process.platform}: use a Linux machine or VM.`);
  if (process.arch !== "x64" && process.arch !== "arm64")
    refuse(`There is no Node ${wantedMajor} package for ${process.arch}: use an x64 or arm64 machine.`);
  if (Number(process.versions.node.split(".")[0]) < 20)
    refuse(`Node ${process.versions.node} is too old to set ambientd up: install Node 20 or newer.`);
  if (!installed()) await install();
  const own = join(modules, ".bin", "node");
  const ownVersion = versionOf(own);
  if (majorOf(ownVersion) !== wantedMajor)
    refuse(
      `${own} should be Node ${wantedMajor} but ${ownVersion === "" ? "does not run" : `is ${ownVersion}`}: ` +
        `remove node_modules and run npm ci (optional dependencies must not be omitted).`,
    );
  // npm puts node_modules/.bin first in PATH; started another way, `node` may still be somebody else's.
  const found = versionOf("node");
  if (majorOf(found) !== wantedMajor)
    refuse(
      `"node" is ${found === "" ? "not found" : found} and not Node ${wantedMajor}: ` +
        `start by npm (npm start, npm test), or put ${join(modules, ".bin")} first in PATH.`,
    );
}

/** npm writes node_modules/.package-lock.json last: older than the lockfile means that the install is older too. */
function installed() {
  try {
    return statSync(join(modules, ".package-lock.json")).mtimeMs >= statSync(lockfile).mtimeMs;
  } catch {
    return false;
  }
}

async function install() {
  const total = packagesWanted();
  const line = (/** @type {string} */ text) =>
    process.stderr.write(process.stderr.isTTY ? `\r\x1b[K${text}` : `${text}\n`);
  const started = Date.now();
  line(`Installing ${total} packages (once)…`);
  const npm = parentOf(process.ppid);
  const progress = setInterval(() => {
    endWithout(npm);
    if (process.stderr.isTTY) line(`Installing packages… ${Math.min(packagesThere(), total)} of ${total}`);
  }, 250);
  const { code, output } = await npmCi();
  clearInterval(progress);
  if (code !== 0) {
    process.stderr.write(`\n${output}\n`);
    refuse(`npm ci failed (exit ${code}): see above; it needs the npm registry once.`);
  }
  line(`Installed ${total} packages in ${((Date.now() - started) / 1000).toFixed(1)} s.`);
  if (process.stderr.isTTY) process.stderr.write("\n");
}

/** @returns {Promise<{code: number, output: string}>} */
function npmCi() {
  // The npm that runs us, on the Node that runs us; it dies with us.
  const cli = process.env["npm_execpath"];
  const npm = cli !== undefined && cli.endsWith("npm-cli.js") ? [process.execPath, cli] : ["npm"];
  const argv = ["--pdeathsig", "KILL", ...npm, "ci", "--no-audit", "--no-fund"];
  return new Promise((settle) => {
    const child = spawn("setpriv", argv, { cwd: root, stdio: ["ignore", "pipe", "pipe"] });
    let output = "";
    child.stdout.on("data", (chunk) => (output += chunk));
    child.stderr.on("data", (chunk) => (output += chunk));
    child.on("error", (error) => settle({ code: 127, output: `${output}${error.message}` }));
    child.on("close", (code) => settle({ code: code ?? 1, output }));
  });
}

/** npm runs us by a shell, which outlives an npm that was killed and would go on: it ends, and we do. */
function endWithout(/** @type {number} */ npm) {
  if (process.env["npm_lifecycle_event"] === undefined || parentOf(process.ppid) === npm) return;
  if (process.ppid !== 1) process.kill(process.ppid, "SIGKILL");
  process.exit(2);
}

function parentOf(/** @type {number} */ pid) {
  try {
    return Number(/^PPid:\s*(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]);
  } catch {
    return 0;
  }
}

function packagesWanted() {
  const packages = JSON.parse(readFileSync(lockfile, "utf8")).packages;
  const suits = (/** @type {{os?: string[], cpu?: string[]}} */ entry) =>
    (entry.os?.includes("linux") ?? true) && (entry.cpu?.includes(process.arch) ?? true);
  return Object.keys(packages).filter((name) => name !== "" && suits(packages[name])).length;
}

function packagesThere() {
  try {
    return readdirSync(modules).reduce(
      (sum, name) =>
        sum + (name.startsWith("@") ? readdirSync(join(modules, name)).length : name.startsWith(".") ? 0 : 1),
      0,
    );
  } catch {
    return 0;
  }
}

/** `v24.1.0`, or empty where it does not run. */
function versionOf(/** @type {string} */ program) {
  const { status, stdout } = spawnSync(program, ["--version"], { encoding: "utf8" });
  return status === 0 ? stdout.trim() : "";
}

function majorOf(/** @type {string} */ version) {
  return Number(/^v(\d+)\./.exec(version)?.[1] ?? 0);
}

/** @returns {never} */
function refuse(/** @type {string} */ sentence) {
  process.stderr.write(`${sentence}\n`);
  process.exit(2);
}
