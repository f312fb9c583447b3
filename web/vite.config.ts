import { defineConfig } from "vite";

// The pages are rendered by the server; Vite only builds what they link to, and a manifest that
// tells the server the names (they hold a hash of the content, so browsers keep them for ever).
export default defineConfig({
  base: "/static/",
  publicDir: false,
  build: {
    outDir: "../src/watchducks/console/static",
    emptyOutDir: true,
    // Not under Vite's default .vite/: directories that begin with a dot are not packaged.
    manifest: "manifest.json",
    target: "es2022",
    // The content security policy allows no inlined files besides images, and we need none.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    rolldownOptions: {
      input: ["src/main.ts", "src/site.ts"],
    },
  },
});
