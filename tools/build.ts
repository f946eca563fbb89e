// Makes the package in dist/: the command line and the library bundled as ES modules that share their common part, and the
// declarations beside them. Dependencies stay outside. `npm run build`; `npm pack` runs it too.

import { spawnSync } from 'node:child_process';
import { chmodSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const dist = join(root, 'dist');

async function bundle(): Promise<void> {
  await build({
    absWorkingDir: root,
    entryPoints: { cli: 'src/cli/main.ts', cbit: 'src/cbit.ts' },
    outdir: dist,
    bundle: true,
    splitting: true,
    packages: 'external',
    platform: 'node',
    format: 'esm',
    target: 'node20',
    sourcemap: true,
    logLevel: 'warning',
  });
  chmodSync(join(dist, 'cli.js'), 0o755);
}

function declarations(): void {
  const require = createRequire(import.meta.url);
  const tsc = join(dirname(require.resolve('typescript/package.json')), 'bin', 'tsc');
  const { status, error } = spawnSync(process.execPath, [tsc, '--project', 'tsconfig.build.json'], { cwd: root, stdio: 'inherit' });
  if (error) throw error;
  if (status !== 0) throw new Error('the declarations could not be made');
}

rmSync(dist, { recursive: true, force: true });
await bundle();
declarations();
