// Bundles src/ and three.js into one page without data: node build.mjs OUT [MARK]. MARK is written into it, see hatch_build.py.

import { readFileSync, writeFileSync } from "node:fs";
import { build } from "esbuild";

const here = (path) => new URL(path, import.meta.url);
const [out, mark = ""] = process.argv.slice(2);

async function bundle(entry) {
  const { outputFiles } = await build({
    entryPoints: [here(entry).pathname],
    bundle: true,
    minify: true,
    write: false,
    format: "iife",
    target: ["chrome100", "firefox113", "safari16.4"],
    charset: "utf8",
    legalComments: "inline",
    logLevel: "warning",
  });
  return outputFiles[0].text.trim();
}

const three = readFileSync(here("node_modules/three/LICENSE"), "utf8");
const parts = {
  "<!--licences-->": `<!--\nMade by meshtalk (MIT). ${mark}\nDrawn with three.js:\n${three.trim()}\n-->`,
  "/*style*/": await bundle("src/player.css"),
  "/*script*/": await bundle("src/main.js"),
};
let page = readFileSync(here("src/page.html"), "utf8");
for (const [place, text] of Object.entries(parts)) page = page.replace(place, () => text);
for (const place of ["<!--title-->", "<!--payload-->"]) {
  if (page.split(place).length !== 2) throw new Error(`${place} has to be in the page once`);
}
writeFileSync(out, page);
