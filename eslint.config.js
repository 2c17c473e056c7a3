// The type-aware linter. Beside the usual rules it knows the floors of ARCHITECTURE.md: a file imports from its own room
// and from floors below, never up and never sideways; pure rooms have no clock, no randomness, no sockets and no files.
import tseslint from "typescript-eslint";

/** Rooms and what each may import. A room is a path prefix; its own prefix is always allowed. */
const rooms = {
  "core/base": [],
  "core/protocol": ["core/base"],
  "core/linux": ["core/base"],
  "core/tls": ["core/base"],
  "core/decision": ["core/base", "core/protocol"],
  "control/client": ["core"],
  "control/sources": ["core"],
  "control/server": ["core", "control/sources"],
  "control/release": ["core", "control/sources"],
  agent: ["core", "control/client"],
  waypoint: ["core", "control/client"],
  cni: ["core", "control/sources"],
  lab: ["core", "control/sources"],
  cli: ["core", "control/sources", "control/server/model", "lab"],
  bin: ["agent", "cni", "control", "cli", "lab", "waypoint", "core/base"],
};

const everyRoom = [
  "core/base",
  "core/protocol",
  "core/linux",
  "core/tls",
  "core/decision",
  "control/client",
  "control/sources",
  "control/server",
  "control/release",
  "agent",
  "waypoint",
  "cni",
  "lab",
  "cli",
  "bin",
];

/** The pattern that a relative import of `target` from `room` matches, however deep the importing file lies. */
function into(target, room) {
  const [parent, name] = target.includes("/") ? target.split("/") : [undefined, target];
  // Rooms under one roof reach each other without naming it.
  const path = parent === undefined ? name : room.startsWith(`${parent}/`) ? `(${parent}/)?${name}` : target;
  return `^(\\.{1,2}/)+${path}/`;
}

function barred(room) {
  const allowed = [room, ...rooms[room]];
  return everyRoom
    .filter((other) => !allowed.some((prefix) => other === prefix || other.startsWith(`${prefix}/`)))
    .map((other) => ({
      regex: into(other, room),
      message: `${room} may not import ${other}: see the floors in ARCHITECTURE.md`,
    }));
}

const outsideWorld = [
  "node:fs",
  "node:fs/promises",
  "node:net",
  "node:tls",
  "node:http",
  "node:http2",
  "node:dgram",
  "node:child_process",
  "node:worker_threads",
  "node:timers",
  "node:timers/promises",
];
const noOutsideWorld = outsideWorld.map((name) => ({ name, message: "this room is sans-I/O: pass it in" }));
const noNetlink = [
  {
    name: "netlink",
    message:
      "only core/linux/netlink loads netlink, and never in the agent: its native part ends the process when a worker ends",
  },
];
const noKubernetesClient = [
  {
    name: "@kubernetes/client-node",
    message: "90 MB of memory: only control/sources/kubernetes and cli/clients load it",
  },
];
const noKoffi = [{ name: "koffi", message: "only core/linux calls libc, and core/tls OpenSSL" }];

const floors = Object.keys(rooms).map((room) => {
  const pure = room === "core/protocol" || room === "core/decision";
  const linux = room === "core/linux";
  const patterns = barred(room);
  if (room === "agent") patterns.push({ regex: "/linux/netlink/", message: "the agent never loads netlink" });
  return {
    files: [`${room}/**/*.ts`],
    ignores: ["**/*.test.ts"],
    rules: {
      "no-restricted-imports": [
        "error",
        {
          paths: [
            ...(pure ? noOutsideWorld : []),
            ...(linux ? [] : noNetlink),
            ...(linux || room === "core/tls" ? [] : noKoffi),
            ...(room === "control/sources" || room === "cli" ? [] : noKubernetesClient),
          ],
          patterns,
        },
      ],
    },
  };
});

/** The plugin runs once per pod on machines we know nothing of: it carries no kernel calls, no sources, no daemon. */
const plugin = {
  files: ["cni/plugin/**/*.ts"],
  ignores: ["**/*.test.ts"],
  rules: {
    "no-restricted-imports": [
      "error",
      {
        paths: [...noNetlink, ...noKoffi, ...noKubernetesClient, { name: "pino", message: "the plugin starts fast" }],
        patterns: [
          ...barred("cni"),
          ...["core/linux", "core/decision", "control/sources"].map((other) => ({
            regex: into(other, "cni/plugin"),
            message: `cni/plugin may not import ${other}: it is one small executable`,
          })),
          { regex: "^\\.\\./(daemon|install)/", message: "the plugin meets the daemon on its socket" },
        ],
      },
    ],
  },
};

const pureRooms = {
  files: ["core/protocol/**/*.ts", "core/decision/**/*.ts"],
  ignores: ["**/*.test.ts"],
  rules: {
    "no-restricted-globals": [
      "error",
      ...["setTimeout", "setInterval", "setImmediate", "performance", "fetch"].map((name) => ({
        name,
        message: "this room has no clock and no I/O: pass it in",
      })),
    ],
    "no-restricted-properties": [
      "error",
      { object: "Date", property: "now", message: "time is an argument here" },
      { object: "Math", property: "random", message: "randomness is an argument here" },
    ],
  },
};

export default tseslint.config(
  { ignores: ["node_modules", "dist", "core/protocol/generated"] },
  { linterOptions: { reportUnusedDisableDirectives: "error" } },
  {
    files: ["**/*.ts"],
    extends: [tseslint.configs.recommendedTypeChecked],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      eqeqeq: "error",
      "no-console": "error",
      "@typescript-eslint/consistent-type-imports": "error",
      "@typescript-eslint/switch-exhaustiveness-check": ["error", { considerDefaultExhaustiveForUnions: true }],
      "@typescript-eslint/no-unused-vars": ["error", { argsIgnorePattern: "^_", varsIgnorePattern: "^_" }],
      "@typescript-eslint/require-await": "off",
      "@typescript-eslint/restrict-template-expressions": ["error", { allowNumber: true, allowBoolean: true }],
    },
  },
  {
    files: ["**/*.test.ts", "test/**/*.ts"],
    rules: { "@typescript-eslint/no-floating-promises": "off", "@typescript-eslint/no-non-null-assertion": "off" },
  },
  ...floors,
  plugin,
  pureRooms,
);
