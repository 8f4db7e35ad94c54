// Every client test, one after the other. The last line is `N passed, N failed`.
import { report } from "./lab.mjs";

await import("./filters.mjs");
await import("./writes.mjs");
await import("./newer.mjs");
report();
