import { createRequire, registerHooks } from "node:module";

const DESCRIPTION = new URL("../../openapi.yaml", import.meta.url);

/** Where the generated types are checked in. */
export const TYPES_FILE = new URL("./client-types.generated.ts", import.meta.url);

const BANNER = `// Generated from openapi.yaml: \`node --import tsx test/openapi/generate-client-types.ts\`.
// biome-ignore-all format: generated
// biome-ignore-all lint: generated
// biome-ignore-all assist: generated
`;

/** The types of a client of this API, as openapi-typescript makes them of openapi.yaml. */
export async function generateClientTypes(): Promise<string> {
  // TypeScript 7 has no such API as the generator was written for; @ts-morph/common has the last one that does.
  const { ts } = createRequire(import.meta.url)("@ts-morph/common");
  const bridge = `export default globalThis[Symbol.for("typescript")];`;
  Object.assign(globalThis, { [Symbol.for("typescript")]: ts });
  const hooks = registerHooks({
    resolve: (specifier, context, next) =>
      specifier === "typescript" && context.parentURL?.includes("/openapi-typescript/")
        ? {
            url: `data:text/javascript,${encodeURIComponent(bridge)}`,
            format: "module",
            shortCircuit: true,
          }
        : next(specifier, context),
  });
  try {
    const { default: generate, astToString } = await import("openapi-typescript");
    const blob = ts.factory.createTypeReferenceNode("Blob");
    const nodes = await generate(DESCRIPTION, {
      // Files go in and come out as they are in browsers and in Node.
      transform: (schema) => (schema.format === "binary" ? blob : undefined),
    });
    return BANNER + astToString(nodes);
  } finally {
    hooks.deregister();
  }
}
