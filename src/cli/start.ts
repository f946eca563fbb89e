#!/usr/bin/env node
// Where the command of the package begins. Node 22.8 and later keep what V8 made of our code for the next start.

import module from 'node:module';

(module as { enableCompileCache?: () => unknown }).enableCompileCache?.();
await import('./main.ts');
