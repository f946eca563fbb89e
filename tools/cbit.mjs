// Runs the command line from a checkout without a build step: bundles src/cli/main.ts with everything below it and imports the
// result. The bundle lies in node_modules/.cache/cbit and is made again when a file that went into it has changed.
// Plain JavaScript, because a loader that compiles TypeScript on the fly costs 0.3 to 0.8 s of every start; a bundle costs
// 0.4 s when it is made and 0.005 s when it is not (measured: Node 20).

import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import module from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const cache = join(root, 'node_modules', '.cache', 'cbit');

/** The bundle of an earlier run, if nothing that went into it has changed since. */
function cached() {
  try {
    const manifest = JSON.parse(readFileSync(join(cache, 'manifest.json'), 'utf8'));
    if (manifest.root !== root) return null; // a copy of the folder: the bundle names files of the other one
    for (const [path, was] of Object.entries(manifest.inputs)) {
      const { mtimeMs, size } = statSync(join(root, path));
      if (`${mtimeMs}:${size}` !== was) return null;
    }
    statSync(manifest.output);
    return manifest.output;
  } catch {
    return null; // no cache yet, or a file has gone
  }
}

/** A bundle for this run alone, where nothing can be written into the checkout. */
async function bundleElsewhere(makeBundle) {
  const folder = mkdtempSync(join(tmpdir(), 'cbit-'));
  process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
  return (await makeBundle(root, folder)).output;
}

async function bundle() {
  const { makeBundle, remember } = await import('./bundle-cli.mjs');
  let folder;
  try {
    folder = remember.folder(cache);
  } catch {
    return await bundleElsewhere(makeBundle);
  }
  try {
    return remember.bundle(root, cache, await makeBundle(root, folder));
  } finally {
    rmSync(folder, { recursive: true, force: true }); // what was made has its own name by now
  }
}

async function locate() {
  try {
    return cached() ?? (await bundle());
  } catch (error) {
    // esbuild has printed what is wrong with the sources; anything else is said here, and no stack helps with it.
    if (!error.errors) console.error(`cbit: cannot prepare the command line: ${error.message} (try \`npm install\`)`);
    process.exit(70);
  }
}

const output = await locate();
module.enableCompileCache?.(join(cache, 'v8')); // Node 22.8 and later keep what V8 made of the bundle
process.setSourceMapsEnabled(true); // stack traces name our sources; costs nothing until there is one (measured)
await import(pathToFileURL(output).href);
