// Reads a JSON list of manifests and validates each by the schema of its kind of the Prometheus operator. Writes one
// line for each fault. Its argument is the directory that .ci/deploy-tools installed the schemas into.
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const room = "node_modules/@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/index.js";
const kinds = await import(pathToFileURL(`${process.argv[2]}/${room}`));
for (const manifest of JSON.parse(readFileSync(0, "utf8"))) {
  try {
    new kinds[manifest.kind](manifest).validate();
  } catch (error) {
    console.log(`${manifest.kind} ${manifest.metadata.name}: ${error.message}`);
  }
}
