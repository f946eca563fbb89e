// Runs the command line from a checkout without a build step: bundles src/cli/main.ts with everything below it and imports the
// result. The bundle lies in node_modules/.cache/cbit and is made again when a file that went into it has changed.
// Plain JavaScript, because a loader that compiles TypeScript on the fly costs 0.3 to 0.8 s of every start; a bundle costs
// 0.06 s when it is made and 0.005 s when it is not (measured: Node 20).

import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const cache = join(root, 'node_modules', '.cache', 'cbit');
const manifestFile = join(cache, 'manifest.json');
/** Not in the bundle's own inputs, but what they say shapes it. */
const alsoInputs = ['tools/cbit.mjs', 'package.json'];
const DAY = 24 * 60 * 60 * 1000;

/** Size and time of a file: what tells that it has changed. */
const stamp = (path) => {
  const { mtimeMs, size } = statSync(join(root, path));
  return `${mtimeMs}:${size}`;
};

/** The bundle of an earlier run, if nothing that went into it has changed since. */
function cached() {
  try {
    const { output, inputs } = JSON.parse(readFileSync(manifestFile, 'utf8'));
    for (const [path, was] of Object.entries(inputs)) if (stamp(path) !== was) return null;
    statSync(output);
    return output;
  } catch {
    return null; // no cache yet, or a file has gone
  }
}

/** Writes in one step, so that two commands started together never see half a file. */
function writeWhole(path, contents) {
  const temporary = `${path}.${process.pid}`;
  writeFileSync(temporary, contents);
  renameSync(temporary, path);
}

function dropOldBundles() {
  for (const name of readdirSync(cache)) {
    const path = join(cache, name);
    if (name.startsWith('cli-') && Date.now() - statSync(path).mtimeMs > DAY) rmSync(path, { force: true });
  }
}

async function bundle() {
  const { buildSync } = await import('esbuild');
  const started = Date.now();
  const result = buildSync({
    absWorkingDir: root,
    entryPoints: ['src/cli/main.ts'],
    bundle: true,
    packages: 'external',
    platform: 'node',
    format: 'esm',
    target: 'node20',
    sourcemap: 'inline',
    sourcesContent: false,
    sourceRoot: pathToFileURL(root).href,
    outfile: join(cache, 'cli.mjs'),
    write: false,
    metafile: true,
    logLevel: 'error',
  });
  const code = result.outputFiles[0].text;
  const output = join(cache, `cli-${createHash('sha256').update(code).digest('hex').slice(0, 16)}.mjs`);
  mkdirSync(cache, { recursive: true });
  writeWhole(output, code);
  const paths = [...Object.keys(result.metafile.inputs), ...alsoInputs];
  // A file changed while we were bundling may or may not be in the bundle: such a bundle is used once and not remembered.
  const settled = paths.every((path) => statSync(join(root, path)).mtimeMs < started);
  if (settled) writeWhole(manifestFile, JSON.stringify({ output, inputs: Object.fromEntries(paths.map((path) => [path, stamp(path)])) }));
  dropOldBundles();
  return output;
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
process.setSourceMapsEnabled(true); // stack traces name our sources; costs nothing until there is one (measured)
await import(pathToFileURL(output).href);
