// Makes the package in dist/: the command line and the library bundled as ES modules that share their common part, and the
// declarations beside them. Dependencies stay outside. `npm run build`; `npm pack` runs it too.

import { spawnSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { bundlePackage } from './bundle-package.ts';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const dist = join(root, 'dist');

function declarations(): void {
  const require = createRequire(import.meta.url);
  const tsc = join(dirname(require.resolve('typescript/package.json')), 'bin', 'tsc');
  const { status, error } = spawnSync(process.execPath, [tsc, '--project', 'tsconfig.build.json'], { cwd: root, stdio: 'inherit' });
  if (error) throw error;
  if (status !== 0) throw new Error('the declarations could not be made');
}

rmSync(dist, { recursive: true, force: true });
await bundlePackage(dist);
declarations();
