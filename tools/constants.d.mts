import type { Plugin } from 'esbuild';

export declare function withConstants(code: string): string;
export declare const constants: Plugin;
