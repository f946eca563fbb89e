// The command line as one folder of ES modules, for runs from a checkout. What it takes from other packages is in it, but for iced-x86,
// which has a file of its own beside its code.

import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { build, stop } from 'esbuild';
import { constants } from './constants.mjs';
import { icedFrom } from './iced.mjs';
import { CENSUS, preparedCore } from './prepared-core.mjs';

/** Not in the bundle's own inputs, but what they say shapes it. */
const alsoInputs = ['bundle-cli.mjs', 'cbit.mjs', 'constants.mjs', 'iced.mjs', 'prepared-core.mjs'].map((name) => `tools/${name}`);
const DAY = 24 * 60 * 60 * 1000;
const PREFIX = 'cli-';

/** Bundles into a folder that is there. Gives the module to import, and what went in with when that began. */
export async function makeBundle(root, folder) {
  const started = Date.now();
  const { metafile } = await build({
    absWorkingDir: root,
    entryPoints: { main: 'src/cli/main.ts' },
    outdir: folder,
    outExtension: { '.js': '.mjs' },
    bundle: true,
    splitting: true,
    platform: 'node',
    format: 'esm',
    target: 'node20',
    // Modules of ours that ask where they lie are told a place in the checkout; CommonJS packages ask for what Node has.
    define: { 'import.meta.url': JSON.stringify(pathToFileURL(join(root, 'src', 'cli', 'main.ts')).href) },
    banner: {
      js: `import { createRequire as requireFrom } from 'node:module'; const require = requireFrom(${JSON.stringify(join(root, 'package.json'))});`,
    },
    sourcemap: true,
    sourcesContent: false,
    metafile: true,
    plugins: [icedFrom(root), preparedCore(root), constants],
    logLevel: 'error',
  });
  await stop(); // its process is of no use any more
  const inputs = [...Object.keys(metafile.inputs).filter((path) => !/^[\w-]{2,}:/.test(path)), ...alsoInputs, CENSUS, 'package.json'];
  return { output: join(folder, 'main.mjs'), started, inputs };
}

/** Size and time of a file: what tells that it has changed. */
function stamp(path) {
  const { mtimeMs, size } = statSync(path);
  return `${mtimeMs}:${size}`;
}

/** Keeps bundles for later runs. Each lies in a folder that appears in one step, so that two commands started together see no half of one. */
export const remember = {
  folder(cache) {
    const making = join(cache, `making-${process.pid}`);
    mkdirSync(making, { recursive: true });
    return making;
  },

  bundle(root, cache, { output, started, inputs }) {
    const made = join(output, '..');
    const hash = createHash('sha256');
    for (const name of readdirSync(made).sort()) hash.update(readFileSync(join(made, name)));
    const folder = join(cache, `${PREFIX}${hash.digest('hex').slice(0, 16)}`);
    try {
      renameSync(made, folder);
    } catch (error) {
      if (!existsSync(folder)) throw error; // else it was made before
    }
    const main = join(folder, 'main.mjs');
    // A file changed while we were bundling may or may not be in the bundle: such a bundle is used once and not remembered.
    if (inputs.every((path) => statSync(join(root, path)).mtimeMs < started)) {
      const manifest = { root, output: main, inputs: Object.fromEntries(inputs.map((path) => [path, stamp(join(root, path))])) };
      const temporary = join(cache, `manifest.${process.pid}`);
      writeFileSync(temporary, JSON.stringify(manifest));
      renameSync(temporary, join(cache, 'manifest.json'));
    }
    dropOld(cache, folder);
    return main;
  },
};

/** Drops bundles of another day, but for the one in use. */
function dropOld(cache, used) {
  for (const name of readdirSync(cache)) {
    const path = join(cache, name);
    if (path !== used && /^(cli|making)-/.test(name) && Date.now() - statSync(path).mtimeMs > DAY)
      rmSync(path, { recursive: true, force: true });
  }
}
