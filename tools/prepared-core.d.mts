import type { Plugin } from 'esbuild';

export declare function preparedCore(root: string): Plugin;
