/** Kubeconfig files: who someone is to the API server, whole in one file. */
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { apiUrl } from "./layout.ts";
import { authority, issueUser, type User } from "./pki.ts";

/** Issues the user's certificate and writes the file (JSON, which YAML readers read). */
export async function writeKubeconfig(path: string, user: User): Promise<void> {
  // Beside the file: a user may get several, at the same time.
  const own = { certificate: `${path}.crt`, key: `${path}.key` };
  await issueUser(own, user);
  const content = kubeconfigOf(user.name, {
    "client-certificate-data": readFileSync(own.certificate, "base64"),
    "client-key-data": readFileSync(own.key, "base64"),
  });
  for (const file of Object.values(own)) rmSync(file);
  writeFileSync(path, content, { mode: 0o600 });
}

/** For a bearer token, such as `kubectl create token` gives. */
export function writeTokenKubeconfig(path: string, name: string, token: string): void {
  writeFileSync(path, kubeconfigOf(name, { token }), { mode: 0o600 });
}

function kubeconfigOf(user: string, credentials: Record<string, string>): string {
  const cluster = { server: apiUrl, "certificate-authority-data": readFileSync(authority.certificate, "base64") };
  return JSON.stringify(
    {
      apiVersion: "v1",
      kind: "Config",
      clusters: [{ name: "ambientd", cluster }],
      users: [{ name: user, user: credentials }],
      contexts: [{ name: "ambientd", context: { cluster: "ambientd", user } }],
      "current-context": "ambientd",
    },
    undefined,
    2,
  );
}
