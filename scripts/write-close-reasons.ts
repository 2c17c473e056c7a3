/** Writes docs/close-reasons.md anew from the catalogue. */
import { mkdirSync, writeFileSync } from "node:fs";
import { renderCatalogue } from "../core/decision/render-catalogue.ts";

const docs = new URL("../docs/", import.meta.url);
mkdirSync(docs, { recursive: true });
writeFileSync(new URL("close-reasons.md", docs), renderCatalogue());
