import { writeFileSync } from "node:fs";
import { generateClientTypes, TYPES_FILE } from "./client-types.ts";

writeFileSync(TYPES_FILE, await generateClientTypes());
