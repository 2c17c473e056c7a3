/** Writes docs/metrics.md anew from the catalogue. */
import { writeFileSync } from "node:fs";
import { renderMetrics } from "../agent/metrics/render-catalogue.ts";

writeFileSync(new URL("../docs/metrics.md", import.meta.url), renderMetrics());
