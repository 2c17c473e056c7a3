/** Asking the API server as an administrator without starting a program for it: waiting asks often. */
import { readFileSync } from "node:fs";
import { request } from "node:https";
import { apiUrl } from "./layout.ts";
import { apiServerClient, authority } from "./pki.ts";

export interface ApiAnswer {
  readonly status: number;
  readonly body: string;
}

/** @returns undefined when there was no answer within two seconds. */
export function askApi(path: string): Promise<ApiAnswer | undefined> {
  const { promise, resolve } = Promise.withResolvers<ApiAnswer | undefined>();
  const credentials = {
    ca: readFileSync(authority.certificate),
    cert: readFileSync(apiServerClient.certificate),
    key: readFileSync(apiServerClient.key),
  };
  const asking = request(`${apiUrl}${path}`, { ...credentials, agent: false, timeout: 2_000 }, (response) => {
    let body = "";
    response.setEncoding("utf8").on("data", (text: string) => (body += text));
    response.on("error", () => resolve(undefined));
    response.on("end", () => resolve({ status: response.statusCode ?? 0, body }));
  });
  asking.on("timeout", () => asking.destroy());
  asking.on("error", () => resolve(undefined));
  asking.end();
  return promise;
}
