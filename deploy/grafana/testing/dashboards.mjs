// Reads the dashboards as literals of Grafana's own types, in which TypeScript takes no key that Grafana does not
// know and no value that it does not have; and sees that it would notice.   npm ci && npm test
import { readFileSync, writeFileSync } from "node:fs";
import ts from "typescript";

const fail = (fault) => { console.error(fault); process.exitCode = 1; };
const compose = readFileSync("../../../docker-compose.yml", "utf8");
const source = /uid: ([\w-]+)/.exec(readFileSync("../provisioning/datasources/prometheus.yml", "utf8"))[1];
const folder = /path: ([\w/]+)/.exec(readFileSync("../provisioning/dashboards/rookery.yml", "utf8"))[1];
if (!compose.includes(`./deploy/grafana/dashboards:${folder}:ro`)) fail(`docker-compose.yml does not put the dashboards into ${folder}`);
const schema = JSON.parse(readFileSync("node_modules/@grafana/schema/package.json", "utf8")).version;
if (!compose.includes(`:-grafana/grafana:${schema}}`)) fail(`docker-compose.yml has another Grafana than @grafana/schema ${schema}`);

const types = `
import type * as grafana from "@grafana/schema/dist/esm/raw/dashboard/x/dashboard_types.gen";
import type * as stat from "@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen";
import type * as timeseries from "@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen";
type Part<T> = T extends object ? { [K in keyof T]?: Part<T[K]> } : T extends string ? \`\${T}\` : T; // enums by their values
type Query = { refId: string; expr: string; legendFormat: string; datasource: grafana.DataSourceRef };
type Panel<Type, Options, Custom> = Omit<Part<grafana.Panel>, "type" | "options" | "fieldConfig" | "targets"> & {
  type: Type; options: Part<Options>; targets: Query[];
  fieldConfig: { defaults: Omit<Part<grafana.FieldConfig>, "custom"> & { custom?: Part<Custom> }; overrides: [] };
};
type Dashboard = Omit<Part<grafana.Dashboard>, "panels"> & {
  panels: (Panel<"stat", stat.Options, {}> | Panel<"timeseries", timeseries.Options, timeseries.FieldConfig>)[];
};
`;

// faults are what the types have against a dashboard.
function faults(dashboard) {
  const file = "node_modules/dashboard.ts";
  writeFileSync(file, `${types}export const dashboard: Dashboard = ${dashboard};`);
  const program = ts.createProgram([file], {
    noEmit: true, strict: true, skipLibCheck: true, target: ts.ScriptTarget.ES2022,
    module: ts.ModuleKind.ES2022, moduleResolution: ts.ModuleResolutionKind.Bundler,
  });
  return ts.getPreEmitDiagnostics(program).map((d) => ts.flattenDiagnosticMessageText(d.messageText, " "));
}

// misplaced tells what types do not: panels of one number, one upon the other, beyond the 24 columns, or of another data source.
function misplaced({ panels }) {
  const found = [];
  panels.forEach((p, i) => {
    const { x, y, w, h } = p.gridPos;
    if (x < 0 || w < 1 || h < 1 || x + w > 24) found.push(`${p.title} is at ${x}, ${y} and ${w} wide`);
    for (const q of panels.slice(0, i)) {
      const at = q.gridPos;
      if (p.id === q.id) found.push(`${p.title} and ${q.title} have the number ${p.id}`);
      if (x < at.x + at.w && at.x < x + w && y < at.y + at.h && at.y < y + h) found.push(`${p.title} lies on ${q.title}`);
    }
    for (const { datasource, refId } of [p, ...p.targets]) {
      if (datasource.uid !== source) found.push(`${p.title} ${refId ?? ""} asks ${datasource.uid}, which is not provisioned`);
    }
    if (new Set(p.targets.map((t) => t.refId)).size < p.targets.length) found.push(`${p.title} has two queries of one name`);
  });
  return found;
}

for (const name of ["cluster", "node"]) {
  const dashboard = readFileSync(`../dashboards/${name}.json`, "utf8");
  for (const fault of [...faults(dashboard), ...misplaced(JSON.parse(dashboard))]) fail(`${name}.json: ${fault}`);
  for (const [right, wrong] of [['"calcs"', '"calks"'], ['"type": "timeseries"', '"type": "timeserie"'], ['"fieldConfig"', '"fieldconfig"'], ['"h": ', '"h": "" + ']]) {
    if (!dashboard.includes(right) || faults(dashboard.replace(right, wrong)).length === 0) fail(`${name}.json: ${wrong} for ${right} is not noticed`);
  }
  const heap = JSON.parse(dashboard);
  for (const p of heap.panels) Object.assign(p, { id: 1, gridPos: { x: 20, y: 0, w: 8, h: 4 } });
  heap.panels[0].datasource.uid = "other";
  const seen = misplaced(heap).join();
  for (const word of ["number", "lies on", "wide", "not provisioned"]) if (!seen.includes(word)) fail(`${name}.json: what is misplaced is not noticed: ${word}`);
}
