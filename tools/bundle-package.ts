// The code of the package: the command line and the library bundled as ES modules that share their common parts, with the core of the
// interpreter. Dependencies stay outside.

import { chmodSync } from 'node:fs';
import { join } from 'node:path';
import { build } from 'esbuild';
import { constants } from './constants.mjs';
import { root } from './guest-manifest.ts';
import { icedFrom } from './iced.mjs';
import { preparedCore } from './prepared-core.mjs';

export async function bundlePackage(folder: string): Promise<void> {
  await build({
    absWorkingDir: root,
    entryPoints: { cli: 'src/cli/start.ts', cbit: 'src/cbit.ts' },
    outdir: folder,
    bundle: true,
    splitting: true,
    packages: 'external',
    platform: 'node',
    format: 'esm',
    target: 'node20',
    sourcemap: true,
    plugins: [icedFrom(), preparedCore(root), constants],
    logLevel: 'warning',
  });
  chmodSync(join(folder, 'cli.js'), 0o755);
}
