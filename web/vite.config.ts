import { existsSync, readdirSync, readFileSync } from "node:fs";

import { svelte } from "@sveltejs/vite-plugin-svelte";
import { defineConfig, type Plugin } from "vite";

// Every browser that runs this page reads woff2, so KaTeX's other two forms of each font stay out of the wheel.
const woff2Only: Plugin = {
  name: "woff2-only",
  enforce: "pre",
  transform: (code, id) => (id.includes("katex.min.css") ? code.replace(/,url\([^)]*\.(?:woff|ttf)\) format\("[a-z]+"\)/g, "") : null),
};

// The licences of all that is bundled, which the wheel must bring with it.
const licences: Plugin = {
  name: "licences",
  generateBundle() {
    const folders = new Set<string>();
    for (const id of this.getModuleIds()) {
      const found = /^\0?(.*\/node_modules\/(?:@[^/]+\/)?[^/]+)\//.exec(id);
      if (found) folders.add(found[1]!);
    }
    const texts = [...folders].sort().flatMap((folder) => {
      if (!existsSync(`${folder}/package.json`)) return [];
      const { name, version, license } = JSON.parse(readFileSync(`${folder}/package.json`, "utf8"));
      const file = readdirSync(folder).find((one) => /^licen[cs]e/i.test(one));
      return [`${name} ${version} (${license})\n\n${file ? readFileSync(`${folder}/${file}`, "utf8").trim() : ""}\n`];
    });
    this.emitFile({ type: "asset", fileName: "assets/licences.txt", source: texts.join(`\n${"-".repeat(80)}\n\n`) });
  },
};

// build.py copies what is built into the Python package, which ships it.
export default defineConfig({
  plugins: [woff2Only, svelte(), licences],
  build: {
    target: "es2022",
    modulePreload: { polyfill: false },
    assetsInlineLimit: 0,
    chunkSizeWarningLimit: 1200,
    rolldownOptions: { checks: { pluginTimings: false } },
  },
  server: { proxy: { "/api": "http://127.0.0.1:8765" } },
});
