/** nginx as the server of requests: one process, a file of 1 KiB, no log. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** What it is asked for. */
export const filePath = "/1k";

/** Writes what it needs into a folder that pods can read. @returns the rest of its command line. */
export function nginxArguments(folder: string, port: number): string[] {
  const root = join(folder, "www");
  mkdirSync(root, { recursive: true });
  writeFileSync(join(root, filePath), "x".repeat(1024));
  const file = join(folder, "nginx.conf");
  writeFileSync(file, configuration(folder, root, port));
  return ["-p", folder, "-c", file, "-e", "stderr"];
}

/** In one process: what ends it leaves no worker behind. Connections are kept for as long as a run may take. */
function configuration(folder: string, root: string, port: number): string {
  const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
  return `
user root;
daemon off;
master_process off;
pid ${folder}/nginx-${port}.pid;
worker_rlimit_nofile 20000;
events { worker_connections 19000; }
http {
  access_log off;
  server_tokens off;
  default_type text/plain;
  keepalive_timeout 2h;
  keepalive_requests 2000000000;
  tcp_nodelay on;
  open_file_cache max=10 inactive=1h;
  open_file_cache_valid 1h;
${temporary.map((name) => `  ${name}_temp_path ${folder}/temporary;`).join("\n")}
  server {
    listen ${port} backlog=4096;
    root ${root};
  }
}
`;
}
