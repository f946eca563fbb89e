// The code of the package: the command line and the library bundled as ES modules that share their common part. Dependencies stay
// outside.

import { chmodSync } from 'node:fs';
import { join } from 'node:path';
import { build } from 'esbuild';
import { root } from './guest-manifest.ts';

export async function bundlePackage(folder: string): Promise<void> {
  await build({
    absWorkingDir: root,
    entryPoints: { cli: 'src/cli/main.ts', cbit: 'src/cbit.ts' },
    outdir: folder,
    bundle: true,
    splitting: true,
    packages: 'external',
    platform: 'node',
    format: 'esm',
    target: 'node20',
    sourcemap: true,
    logLevel: 'warning',
  });
  chmodSync(join(folder, 'cli.js'), 0o755);
}
