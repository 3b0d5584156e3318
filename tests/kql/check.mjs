// Holds KQL texts to Microsoft's own parser and binder, and says what each would answer with.
//
//   node check.mjs PROFILE SCHEMA.json LAB_SCHEMA.json < {"name": "text", …}
//   -> {"name": {"result": "(column: type, …)", "errors": [{"code", "line", "column", "text"}]}, …}
//
// PROFILE is documented, or a name in the schema's overrides. The lab's own tables have no common columns.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const load = createRequire(import.meta.url);
// Translated from C#: scripts that set globals.
load("@kusto/language-service-next/bridge.min.js");
load("@kusto/language-service-next/Kusto.Language.Bridge.min.js");
const { Bridge, Kusto } = globalThis;
const { KustoCode, GlobalState, Symbols } = Kusto.Language;

function database(schema, own, profile) {
  const overrides = profile === "documented" ? {} : schema.overrides[profile];
  if (!overrides) throw new Error(`the schema has no profile ${profile}`);
  const table = ([name, columns]) => {
    const typed = columns.split(",").map((column) => {
      const [key, type] = column.trim().split(":");
      return `${key}: ${overrides[name]?.[key] ?? type}`;
    });
    return new Symbols.TableSymbol.$ctor7(name, `(${typed.join(", ")})`, null);
  };
  const classic = Object.entries(schema.tables).map(([name, columns]) => [name, `${schema.common}, ${columns}`]);
  const all = [...classic, ...Object.entries(schema.standalone), ...Object.entries(own.tables)];
  return new Symbols.DatabaseSymbol.ctor("telemetry", all.map(table));
}

function check(text, globals) {
  const code = KustoCode.ParseAndAnalyze(text, globals);
  const errors = Bridge.toArray(code.GetDiagnostics()).filter((it) => it.Severity === "Error");
  const place = (start) => {
    const lines = text.slice(0, start).split("\n");
    return { line: lines.length, column: lines.at(-1).length + 1 };
  };
  return {
    result: Symbols.SchemaDisplay.GetText(code.ResultType),
    errors: errors.map((it) => ({ code: it.Code, ...place(it.Start), text: it.Message })),
  };
}

const [profile, ...files] = process.argv.slice(2);
const [schema, own] = files.map((file) => JSON.parse(readFileSync(file, "utf8")));
const globals = GlobalState.Default.WithDatabase(database(schema, own, profile));
const texts = Object.entries(JSON.parse(readFileSync(0, "utf8")));
process.stdout.write(JSON.stringify(Object.fromEntries(texts.map(([name, text]) => [name, check(text, globals)]))));
