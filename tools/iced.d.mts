import type { Plugin } from 'esbuild';

export declare function icedFrom(root?: string): Plugin;
