// Prints the words that Microsoft's parser knows, as a JSON array of those that could be names.
import { createRequire } from "node:module";

const load = createRequire(import.meta.url);
// Translated from C#: scripts that set globals.
load("@kusto/language-service-next/bridge.min.js");
load("@kusto/language-service-next/Kusto.Language.Bridge.min.js");
const { Bridge, Kusto } = globalThis;
const { SyntaxFacts } = Kusto.Language.Syntax;

const words = Bridge.toArray(SyntaxFacts.GetKindsWithFixedText()).map((kind) => SyntaxFacts.GetText(kind));
process.stdout.write(JSON.stringify(words.filter((word) => /^[a-z_][a-z0-9_]*$/.test(word))));
