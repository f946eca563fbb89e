// Runs a tool written in TypeScript as one bundle: node tools/bundled.mjs ENTRY ARGUMENTS... A long run of the processor gains
// nothing from being loaded module by module, and starts in 0.1 s instead of 0.6 (measured: Node 20, tsx).

import { mkdirSync, readFileSync, rmSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { build, stop } from 'esbuild';
import { constants } from './constants.mjs';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const cache = join(root, 'node_modules', '.cache', 'cbit');
const entry = process.argv[2];
const outfile = join(cache, `${basename(entry, '.ts')}-${process.pid}.mjs`);

/** In the bundle, too, a module of ours knows where its own file lies. */
const places = {
  name: 'places',
  setup({ onLoad }) {
    onLoad({ filter: /[\\/](tools|test)[\\/].*\.ts$/ }, ({ path }) => ({
      contents: readFileSync(path, 'utf8').replaceAll('import.meta.url', JSON.stringify(pathToFileURL(path).href)),
      loader: 'ts',
    }));
  },
};

mkdirSync(cache, { recursive: true });
await build({
  absWorkingDir: root,
  entryPoints: [entry],
  bundle: true,
  packages: 'external',
  platform: 'node',
  format: 'esm',
  target: 'node20',
  sourcemap: 'inline',
  sourcesContent: false,
  sourceRoot: pathToFileURL(root).href,
  outfile,
  plugins: [places, constants],
  logLevel: 'error',
});
await stop(); // its process is of no use any more, and what is measured wants the machine for itself
process.argv.splice(1, 2, join(root, entry));
process.env['CBIT_BUNDLE'] = outfile; // what a worker thread of the tool runs
try {
  await import(pathToFileURL(outfile).href);
} finally {
  rmSync(outfile, { force: true });
}
